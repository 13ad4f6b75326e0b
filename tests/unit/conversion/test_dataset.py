"""Whole conversions of generated images, their records read back without TensorFlow."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.unit.conversion.sources import Source

from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.conversion.dataset import checked_tag
from maskrcnn_trainer.data.records import frame
from maskrcnn_trainer.errors import InvalidInput, TryAgain


def test_every_key_of_a_record(source: Source) -> None:
    source.annotate(0, 1)
    source.annotate(
        0,
        2,
        category_id=1,
        bbox=[0, 0, 40, 30],
        iscrowd=1,
        area=9,
        segmentation={"size": [30, 40], "counts": [0, 1200]},
    )
    summary = source.write().convert(num_shards=1)
    record = source.records()[0]
    data = (source.image_dir / "0.jpg").read_bytes()
    masks = record.pop("image/object/mask")
    assert record == {
        "image/height": [30],
        "image/width": [40],
        "image/filename": [b"0.jpg"],
        "image/source_id": [b"100"],
        "image/key/sha256": [hashlib.sha256(data).hexdigest().encode()],
        "image/encoded": [data],
        "image/format": [b"jpeg"],
        "image/object/bbox/xmin": [0.125, 0.0],
        "image/object/bbox/xmax": [0.375, 1.0],
        "image/object/bbox/ymin": pytest.approx([5 / 30, 0.0]),
        "image/object/bbox/ymax": pytest.approx([25 / 30, 1.0]),
        "image/object/class/text": [b"cat", "dög".encode()],
        "image/object/class/label": [3, 1],
        "image/object/is_crowd": [0, 1],
        "image/object/area": [200.5, 9.0],
    }
    expected = np.zeros((30, 40), np.uint8)
    expected[5:25, 5:15] = 1
    first, second = (np.asarray(Image.open(io.BytesIO(mask))) for mask in masks)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, np.ones((30, 40), np.uint8))
    assert (summary.images, summary.objects, summary.skipped, summary.warned_images) == (5, 2, 0, 0)
    assert summary.warnings_file is None
    assert source.files() == ["boxes-00000-of-00001.tfrecord"]


def test_an_image_without_objects_is_written_with_empty_lists(source: Source) -> None:
    source.write().convert()
    records = source.records()
    assert len(records) == 5
    assert all(record["image/object/class/label"] == [] == record["image/object/mask"] for record in records)


def test_image_i_goes_to_shard_i_modulo_the_shards(source: Source) -> None:
    source.write().convert(num_shards=3, tag="val")
    assert source.files() == [f"val-0000{shard}-of-00003.tfrecord" for shard in range(3)]
    for shard, ids in enumerate(([b"100", b"103"], [b"101", b"104"], [b"102"])):
        assert [record["image/source_id"][0] for record in source.records(f"val-0000{shard}*")] == ids


def test_more_shards_than_images(source: Source) -> None:
    source.write().convert(num_shards=300)
    assert len(source.files()) == 300
    assert [record["image/source_id"] for record in source.records()] == [[b"%d" % i] for i in range(100, 105)]


def test_without_masks(source: Source) -> None:
    source.annotate(0, 1, segmentation=None)
    source.write().convert(include_mask=False)
    record = source.records("boxes-00000*")[0]
    assert record["image/object/class/label"] == [3]
    assert "image/object/mask" not in record


def test_a_new_run_replaces_the_older_set_of_its_tag_only(source: Source) -> None:
    source.annotate(0, 1, bbox=[-1, 0, 5, 5])
    source.annotate(0, 2)
    source.write().convert(num_shards=4)
    source.convert(num_shards=2, tag="boxes2")
    source.annotations[0]["bbox"] = [5, 5, 10, 20]
    source.write().convert(num_shards=3)
    assert source.files() == [
        *(f"boxes-0000{i}-of-00003.tfrecord" for i in range(3)),
        *(f"boxes2-0000{i}-of-00002.tfrecord" for i in range(2)),
        "boxes2_warnings.json",
    ]
    assert len(source.records()) == 5


@pytest.mark.parametrize(
    "name", ["boxes-00000-of-00002.tfrecord", "boxes-00003-of-00007.tfrecord", "boxes_warnings.json"]
)
@pytest.mark.parametrize("kind", ["text", "records of another program", "link", "hard link to text", "directory"])
def test_a_foreign_file_with_a_name_of_the_set_is_refused_and_stays(
    source: Source, tmp_path: Path, name: str, kind: str
) -> None:
    source.annotate(0, 1, bbox=[-1, 0, 5, 5])
    source.annotate(0, 2)
    source.write().convert(num_shards=3)
    file, mine = source.output_dir / name, tmp_path / "mine"
    mine.write_bytes(b"my notes")
    file.unlink(missing_ok=True)
    if kind == "text":
        file.write_bytes(b"my notes")
    elif kind == "link":
        mine.write_bytes((source.output_dir / "boxes-00000-of-00003.tfrecord").read_bytes())
        file.symlink_to(mine)
    elif kind == "hard link to text":
        file.hardlink_to(mine)
    elif kind == "directory":
        file.mkdir()
    else:
        file.write_bytes(frame(b"an example of another program"))
    before = {path.name: path.read_bytes() for path in source.output_dir.iterdir() if path.is_file()}
    with pytest.raises(InvalidInput, match=f"{name} was not written by a conversion") as caught:
        source.convert(num_shards=2)
    assert (caught.value.exit_code, caught.value.reason) == (64, "ForeignFiles")
    assert {path.name: path.read_bytes() for path in source.output_dir.iterdir() if path.is_file()} == before
    assert source.files() == sorted({*before, name})


def test_a_foreign_file_that_appears_during_a_conversion_is_refused_and_stays(source: Source) -> None:
    source.annotate(0, 1)
    source.write().convert(num_shards=3)
    file = source.output_dir / "boxes-00001-of-00002.tfrecord"
    with pytest.raises(InvalidInput, match=file.name):
        source.convert(before_publish=lambda: file.write_text("mine") and None)
    assert file.read_text() == "mine"
    assert [name for name in source.files() if "-of-00003" in name] == [
        f"boxes-0000{i}-of-00003.tfrecord" for i in range(3)
    ]


@pytest.mark.parametrize("content", [b"", bytes(5), bytes(500)])
def test_shards_of_a_conversion_that_a_power_loss_emptied_are_replaced(source: Source, content: bytes) -> None:
    source.annotate(0, 1)
    source.write().convert(num_shards=3)
    for name in source.files():
        (source.output_dir / name).write_bytes(content)
    source.convert(num_shards=2)
    assert len(source.files()) == 2
    assert len(source.records()) == 5


def test_the_result_does_not_depend_on_the_number_of_processes(source: Source, tmp_path: Path) -> None:
    for i in range(5):
        source.annotate(i, 2 * i + 1)
        source.annotate(i, 2 * i + 2, bbox=[5, 5, 5, 20])
    seen: list[tuple[str, int, int]] = []
    source.write().convert()
    one = {path.name: path.read_bytes() for path in source.output_dir.iterdir()}
    source.convert(processes=3, progress=lambda *counts: seen.append(counts))
    assert {path.name: path.read_bytes() for path in source.output_dir.iterdir()} == one
    assert len(one) == 3
    assert seen == [(phase, i, 5) for phase in ("Checking", "Converting") for i in range(1, 6)]
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_file_names_may_name_folders(source: Source) -> None:
    (source.image_dir / "sub").mkdir()
    (source.image_dir / "0.jpg").rename(source.image_dir / "sub" / "0.jpg")
    source.images[0]["file_name"] = "sub/0.jpg"
    source.write().convert()
    assert source.records()[0]["image/filename"] == [b"sub/0.jpg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_shards": 0}, "--num_shards 0: expected 1 to 99999"),
        ({"num_shards": 100_000}, "--num_shards 100000: expected 1 to 99999"),
        ({"tag": "a/b"}, "--tag 'a/b': expected a name without"),
        ({"tag": "a*"}, "a name without"),
        ({"tag": ".a"}, "a name without"),
        ({"processes": 0}, "processes 0: expected at least 1"),
    ],
)
def test_arguments_that_cannot_work(source: Source, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        source.write().convert(**options)
    assert not source.output_dir.exists()


def test_directories_that_cannot_work(source: Source, tmp_path: Path) -> None:
    source.write()
    with pytest.raises(InvalidInput, match="--image_dir .*none: there is no such directory"):
        convert_dataset(tmp_path / "none", source.annotations_file, source.output_dir)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="--image_dir .*/file: is a file, not a directory$"):
        convert_dataset(tmp_path / "file", source.annotations_file, source.output_dir)
    with pytest.raises(InvalidInput, match="--output_dir .*file/out: the directory cannot be created .Not a directory"):
        convert_dataset(source.image_dir, source.annotations_file, tmp_path / "file" / "out")


def test_the_tag_is_the_name_of_the_annotation_file() -> None:
    assert checked_tag(None, "/data/instances_train.v2.json") == "instances_train.v2"
    assert checked_tag("x", "/data/a.json") == "x"
    with pytest.raises(InvalidInput, match=r"'a\[1\]' \(the name of the annotation file; give another with --tag\)"):
        checked_tag(None, "/data/a[1].json")


def test_a_refused_publication_changes_nothing(source: Source) -> None:
    source.write().convert()
    before = source.files()

    def refuse() -> None:
        raise TryAgain("another run has taken over")

    with pytest.raises(TryAgain):
        source.convert(num_shards=9, before_publish=refuse)
    assert source.files() == before
