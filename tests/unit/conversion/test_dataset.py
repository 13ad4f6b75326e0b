"""Whole conversions of generated images, their records read back without TensorFlow."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.unit.small_records import parse_example

from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.conversion.dataset import checked_tag
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import frame, index_records
from maskrcnn_trainer.errors import InvalidInput, TryAgain

RECTANGLE = [[5, 5, 15, 5, 15, 25, 5, 25]]


class Source:
    """Images with annotations in a temporary folder; all of it can be changed before ``write``."""

    def __init__(self, folder: Path, images: int = 5) -> None:
        self.image_dir = folder / "images"
        self.annotations_file = folder / "boxes.json"
        self.output_dir = folder / "out"
        self.image_dir.mkdir()
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        for i in range(images):
            pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(self.image_dir / f"{i}.jpg")
            self.images.append({"id": 100 + i, "file_name": f"{i}.jpg", "width": 40, "height": 30})

    def annotate(self, image: int, number: int, **changes: Any) -> None:
        annotation = {"id": number, "image_id": 100 + image, "category_id": 3, "bbox": [5, 5, 10, 20], "area": 200.5,
                      "iscrowd": 0, "segmentation": RECTANGLE}  # fmt: skip
        self.annotations.append(annotation | changes)

    def write(self) -> Source:
        categories = [{"id": 3, "name": "cat"}, {"id": 1, "name": "dög"}]
        content = {"images": self.images, "annotations": self.annotations, "categories": categories}
        self.annotations_file.write_text(json.dumps(content))
        return self

    def convert(self, **options: Any) -> Any:
        options = {"num_shards": 2, "processes": 1, **options}
        return convert_dataset(self.image_dir, self.annotations_file, self.output_dir, **options)

    def records(self, pattern: str = "boxes-*") -> list[dict[str, list[Any]]]:
        index = index_records(f"{self.output_dir}/{pattern}")
        payloads = map(RecordReader(index).read, range(len(index)))
        return [parse_example(payload) for payload in payloads]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.output_dir.iterdir())


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


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
    assert (summary.images, summary.objects, summary.skipped, summary.warned_images, summary.shards) == (5, 2, 0, 0, 1)
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


def test_warnings(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.annotate(1, 11, bbox=[35, 5, 10, 20])
    source.annotate(1, 12)
    source.annotate(1, 17, bbox=[5, 5, 35.25, 20])
    source.annotate(1, 13, segmentation=[[1, 2, 3]])
    source.annotate(3, 14, bbox=[5, 5, 5, 20])
    source.annotate(3, 15, segmentation={"size": [30, 40], "counts": [1200]})
    source.annotate(4, 16)
    with caplog.at_level(logging.INFO):
        summary = source.write().convert(num_shards=1)
    assert json.loads((source.output_dir / "boxes_warnings.json").read_text()) == {
        "101": {"box": [11, 17], "mask": [13]},
        "103": {"box": [], "mask": [14, 15]},
    }
    assert [len(record["image/object/mask"]) for record in source.records()] == [0, 2, 0, 2, 1]
    assert (summary.objects, summary.skipped, summary.warned_images) == (5, 2, 2)
    assert summary.warnings_file == str(source.output_dir / "boxes_warnings.json")
    lines = [record.getMessage() for record in caplog.records]
    assert f"writing to output path: {source.output_dir}/boxes" in lines
    assert "Building bounding box index." in lines
    assert "2 images are missing bboxes." in lines
    assert "On image 0 of 5" in lines
    assert "Finished writing, skipped 2 annotations." in lines
    assert "image 101, object 13 (left out): polygon 0: 3 numbers; expected pairs x, y" in lines
    assert "image 103, object 15 (kept): the mask is empty" in lines


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


def test_all_images_that_cannot_be_used_are_named_and_nothing_is_written(source: Source) -> None:
    source.write().convert()
    before = {name: (source.output_dir / name).read_bytes() for name in source.files()}
    (source.image_dir / "1.jpg").write_bytes(b"no image")
    source.images[3]["width"] = 41
    source.write()
    for processes in (1, 2):
        with pytest.raises(InvalidInput) as failure:
            source.convert(processes=processes, num_shards=7)
        lines = str(failure.value).splitlines()
        assert lines[0] == f"{source.annotations_file}: 2 problems:"
        assert (
            lines[1].strip() == f"images: id 101: {source.image_dir}/1.jpg: not an image in a format that can be read"
        )
        assert lines[2].strip().startswith(f"images: id 103: {source.image_dir}/3.jpg: is 40x30 (width x height)")
    assert {name: (source.output_dir / name).read_bytes() for name in source.files()} == before


def fail_when_converting(phase: str, done: int, total: int) -> None:
    if phase == "Converting":
        pytest.fail(f"{done} of {total} images were converted")


def test_missing_images_are_named_before_the_first_is_converted(source: Source) -> None:
    source.images[2]["file_name"] = "none.jpg"
    with pytest.raises(InvalidInput, match=r"images: id 102: file_name 'none\.jpg': no such file in .*/images$"):
        source.write().convert(progress=fail_when_converting)


def test_missing_images_in_folders_are_named_before_the_first_is_converted(source: Source) -> None:
    (source.image_dir / "sub").mkdir()
    source.images[1]["file_name"], source.images[2]["file_name"] = "sub/none.jpg", "other/none.jpg"
    with pytest.raises(InvalidInput, match=r"(?s)2 problems.*id 101: .*'sub/none\.jpg'.*id 102: .*'other/none\.jpg'"):
        source.write().convert(progress=fail_when_converting)


def test_more_bad_images_than_a_message_holds_are_all_told(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(5, 30):
        (source.image_dir / f"{i}.jpg").write_bytes(b"no image")
        source.images.append({"id": 100 + i, "file_name": f"{i}.jpg", "width": 40, "height": 30})
    with caplog.at_level(logging.INFO), pytest.raises(InvalidInput) as failure:
        source.write().convert(processes=2)
    assert f"{source.annotations_file}: 25 problems:" in str(failure.value)
    assert "and 5 more; they are in the log above, and with --skip-bad-images all are in" in str(failure.value)
    told = str(failure.value) + caplog.text
    assert [told.count(f"images: id {100 + i}: ") for i in range(5, 30)] == [1] * 25
    assert source.files() == []


def test_bad_image_is_told_once_and_before_the_first_is_converted(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    (source.image_dir / "4.jpg").write_bytes(b"no image")
    phases: set[str] = set()
    with pytest.raises(InvalidInput, match=r"4\.jpg: not an image"):
        source.write().convert(progress=lambda phase, done, total: phases.add(phase))
    assert phases == {"Checking"}
    assert not [record for record in caplog.records if "4.jpg" in record.getMessage()]


def test_bad_images_are_left_out_and_listed_on_demand(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    (source.image_dir / "1.jpg").write_bytes(b"no image")
    (source.image_dir / "2.jpg").unlink()
    for i in range(5):
        source.annotate(i, i + 1)
    source.annotate(1, 9)
    summary = source.write().convert(num_shards=2, skip_bad_images=True)
    assert [record["image/source_id"] for record in source.records()] == [[b"100"], [b"104"], [b"103"]]
    warnings = json.loads((source.output_dir / "boxes_warnings.json").read_text())
    assert warnings.keys() == {"101", "102"}
    assert warnings["101"] == {
        "box": [], "mask": [], "image": f"{source.image_dir}/1.jpg: not an image in a format that can be read"
    }  # fmt: skip
    assert (summary.images, summary.skipped_images, summary.objects, summary.skipped) == (3, 2, 3, 0)
    (line,) = warnings_in(caplog)
    assert line.startswith("2 of 5 images (40.0%) are left out with their 3 objects")
    source.convert(num_shards=3, skip_bad_images=True)  # it knows its own warnings file
    assert len(source.records()) == 3


def test_missing_and_damaged_images_are_named_together(source: Source) -> None:
    (source.image_dir / "1.jpg").write_bytes(b"no image")
    (source.image_dir / "2.jpg").unlink()
    with pytest.raises(InvalidInput, match="2 problems") as failure:
        source.write().convert()
    assert "no such file" in str(failure.value)
    assert "not an image in a format that can be read" in str(failure.value)


def test_images_of_all_objects_left_out_are_refused(source: Source) -> None:
    (source.image_dir / "1.jpg").write_bytes(b"no image")
    source.annotate(1, 1)
    with pytest.raises(InvalidInput, match="no object is left: the images of all of them cannot be used"):
        source.write().convert(skip_bad_images=True)
    assert source.files() == []


def test_no_usable_image_is_refused_on_demand_too(source: Source) -> None:
    for image in source.images:
        image["width"] = 41
    with pytest.raises(InvalidInput, match="5 problems"):
        source.write().convert(skip_bad_images=True)
    assert source.files() == []


def test_nothing_left_of_the_objects_is_refused(source: Source) -> None:
    source.annotate(0, 1, segmentation=[])
    source.annotate(1, 2, segmentation=[])
    source.annotate(1, 3, bbox=[35, 5, 10, 20])
    with pytest.raises(InvalidInput) as caught:
        source.write().convert()
    assert str(caught.value) == (
        f"{source.annotations_file}: 3 of 3 objects (100.0%) are left out: empty segmentation: 2, such as image 100, "
        "object 1: the list of polygons is empty; box reaches out of the image: 1, such as image 101, object 3: box "
        "[35, 5, 10, 20] (x, y, width, height) reaches out of the 40x30 image by 5 pixels; the annotations seem to be "
        "boxes without masks, which cannot train Mask R-CNN (--no-include_mask converts the boxes alone)"
    )
    assert (caught.value.exit_code, source.files()) == (64, [])


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Those of the conversion itself; the annotations are told of where they are read."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and not record.name.endswith("data.coco")
    ]


def left_out(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    messages = ((record.levelname, record.getMessage()) for record in caplog.records)
    return [(level, message) for level, message in messages if " objects (" in message]


@pytest.mark.parametrize(("bad", "level"), [(1, "INFO"), (2, "WARNING")])
def test_more_than_a_tenth_of_the_objects_left_out_is_a_warning(
    source: Source, caplog: pytest.LogCaptureFixture, bad: int, level: str
) -> None:
    for number in range(1, 11):
        source.annotate(0, number, **({"segmentation": [[1, 2, 3]]} if number <= bad else {}))
    with caplog.at_level(logging.INFO):
        source.write().convert()
    ((found, line),) = left_out(caplog)
    assert found == level
    assert line == (
        f"{bad} of 10 objects ({bad}0.0%) are left out: broken segmentation: {bad}, such as image 100, object 1: "
        "polygon 0: 3 numbers; expected pairs x, y"
    )


def test_boxes_of_corners_are_named_as_the_likely_cause(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1, 9):
        source.annotate(0, number)
    for number in range(10, 12):
        source.annotate(1, number, bbox=[25, 5, 35, 25])
    source.write().convert()
    ((level, line),) = left_out(caplog)
    assert level == "WARNING"
    assert line.endswith("; the boxes seem to be x1, y1, x2, y2: COCO's are x, y, width, height")


def test_boxes_out_of_the_image_that_are_no_corners_are_not_named_so(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.annotate(0, 1)
    source.annotate(1, 10, bbox=[35, 5, 10, 20])
    source.write().convert()
    ((_, line),) = left_out(caplog)
    assert "x1" not in line


def test_boxes_in_fractions_of_the_image_are_refused_before_any_work(source: Source) -> None:
    source.annotate(0, 1, bbox=[0.1, 0.2, 0.5, 0.8], segmentation=[[0.1, 0.2, 0.6, 0.2, 0.6, 1]])
    with pytest.raises(InvalidInput, match=r"1 of 1 boxes.*seem to be fractions of the image; x, y, width"):
        source.write().convert(progress=lambda *counts: pytest.fail("an image was read"))


def test_nearly_all_boxes_in_fractions_are_refused_though_one_is_rounded(source: Source) -> None:
    for number in range(1, 10):
        source.annotate(0, number, bbox=[0.1, 0.2, 0.5, 1.02])
    source.annotate(0, 10)
    with pytest.raises(InvalidInput, match="9 of 10 boxes"):
        source.write().convert()


@pytest.mark.parametrize("bbox", [[-5, -5, 5, 5], [0.5, 0.5, 1, 1.25], [0, 0, 1, 0]])
def test_boxes_near_the_first_pixel_are_no_fractions(
    source: Source, caplog: pytest.LogCaptureFixture, bbox: list[float]
) -> None:
    source.annotate(0, 1, bbox=bbox)
    source.annotate(0, 2)
    source.write().convert()
    assert not any("fractions" in line for line in warnings_in(caplog))


@pytest.mark.parametrize(("bad", "warned"), [(1, False), (2, True)])
def test_boxes_that_do_not_fit_their_masks_are_counted_in_a_warning(
    source: Source, caplog: pytest.LogCaptureFixture, bad: int, warned: bool
) -> None:
    for number in range(1, 21):
        source.annotate(0, number, **({"bbox": [5, 5, 30, 20]} if number <= bad else {}))
    source.write().convert()
    lines = [message for level, message in left_out(caplog) if level == "WARNING"]
    assert len(lines) == warned
    assert not warned or lines[0].startswith("2 of 20 objects (10.0%) have a box that does not fit the mask")


def test_images_turned_by_exif_are_counted_in_a_warning(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    tags = Image.Exif()
    tags[0x0112] = 3
    Image.new("RGB", (40, 30)).save(source.image_dir / "3.jpg", exif=tags)
    source.write().convert()
    (line,) = warnings_in(caplog)
    assert line.startswith("1 of 5 images (20.0%) have an EXIF orientation other than 1 (such as 3.jpg with 3)")


def test_dark_images_of_16_bits_are_counted_in_a_warning(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.full((30, 40), 4000, np.uint16)).save(source.image_dir / "3.jpg", "PNG")
    source.write().convert()
    (line,) = warnings_in(caplog)
    assert line.startswith("1 of 5 images (20.0%) have 16 bits, with 99% of their values below 1/16 of the range")


def test_png_without_its_end_is_counted_in_a_warning(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (40, 30)).save(source.image_dir / "3.jpg", "PNG")
    (source.image_dir / "3.jpg").write_bytes((source.image_dir / "3.jpg").read_bytes()[:-12])
    source.write().convert()
    (line,) = warnings_in(caplog)
    assert line == (
        "1 of 5 images (20.0%) are stored as new PNG: the file ends early, after all of its pixels (such as 3.jpg)"
    )


def test_jpeg_whose_data_ends_early_is_counted_in_a_warning(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    data = (source.image_dir / "3.jpg").read_bytes()
    (source.image_dir / "3.jpg").write_bytes(data[:-300] + b"\xff\xd9")
    source.write().convert()
    (line,) = warnings_in(caplog)
    assert line.startswith("1 of 5 images (20.0%) are JPEG files that end before their last pixels (such as 3.jpg)")


def test_crowds_that_are_most_of_the_objects_are_counted_in_a_warning(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.annotate(0, 1, iscrowd=1)
    source.annotate(0, 2)
    source.write().convert()
    assert not warnings_in(caplog)
    source.annotate(0, 3, iscrowd=1)
    source.write().convert(num_shards=1)
    (line,) = warnings_in(caplog)
    assert line.startswith("2 of 3 objects (66.7%) have iscrowd 1: training leaves them out")
    assert "--crowd-as-objects" in line
    assert source.records()[0]["image/object/is_crowd"] == [1, 0, 1]


def test_crowds_become_objects_on_demand(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.annotate(0, 1, iscrowd=1)
    source.write().convert(num_shards=1, crowd_as_objects=True)
    assert source.records()[0]["image/object/is_crowd"] == [0]
    assert not warnings_in(caplog)


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
    with pytest.raises(InvalidInput, match="--output_dir .*file/out: the directory cannot be made .Not a directory"):
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
