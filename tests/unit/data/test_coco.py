from __future__ import annotations

import bz2
import copy
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.data.coco import CocoDataset, checked_dataset, load_coco
from maskrcnn_trainer.data.coco_json import read_json
from maskrcnn_trainer.errors import InvalidInput

GOOD: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 40, "height": 30},
        {"id": 3, "file_name": "b.jpg", "width": 20, "height": 10},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 90, "name": "dog", "supercategory": "animal"}],
    "annotations": [
        {"id": 11, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3.5, 4], "area": 14, "iscrowd": 0,
         "segmentation": [[1, 2, 4, 2, 4, 6]]},
        {"id": 12, "image_id": 7, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 9.5, "iscrowd": 1,
         "segmentation": {"size": [30, 40], "counts": [1200]}},
    ],
}  # fmt: skip


def load(tmp_path: Path, content: Any, **options: bool) -> CocoDataset:
    file = tmp_path / "instances.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_coco(file, **options)


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    change(content)
    return content


def num_annotations(dataset: CocoDataset) -> int:
    return sum(len(annotations) for annotations in dataset.annotations.values())


def test_a_good_file(tmp_path: Path) -> None:
    dataset = load(tmp_path, GOOD, require_masks=True)
    assert [image.id for image in dataset.images] == [7, 3]
    assert dataset.categories == {1: "cat", 90: "dog"}
    assert [one.id for one in dataset.annotations_of(7)] == [11, 12]
    assert dataset.annotations_of(3) == ()
    assert num_annotations(dataset) == 2
    first, second = dataset.annotations_of(7)
    assert (first.bbox, first.area, first.is_crowd) == ((1.0, 2.0, 3.5, 4.0), 14.0, False)
    assert second.is_crowd
    assert second.segmentation == {"size": [30, 40], "counts": [1200]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "images is missing: a list is expected"),
        (lambda c: c.update(categories={}), r"categories is \{\}: a list is expected"),
        (lambda c: c.update(images=[]), "images is empty"),
        (lambda c: c["images"].append(5), r"images\[2\]: 5: an object is expected"),
        (lambda c: c["images"][1].pop("file_name"), r"images\[1\] \(id 3\): file_name missing"),
        (lambda c: c["images"][1].update(file_name=""), 'file_name "": the name of a file is expected'),
        (lambda c: c["images"][1].update(file_name=3), "file_name 3: the name of a file is expected"),
        (lambda c: c["images"][1].update(width=0), r"images\[1\] \(id 3\): width 0: a whole number of pixels from"),
        (lambda c: c["images"][1].update(height=2.5), r"height 2\.5: a whole number"),
        (lambda c: c["images"][1].update(height=10**20), "whole number of pixels from 1 to 65535 is expected"),
        (lambda c: c["images"][1].update(id="x"), r'images\[1\] \(id "x"\): id "x": a whole number is expected'),
        (lambda c: c["images"][1].update(id=2**63), f"id {2**63}: an id is at most {2**63 - 1}"),
        (lambda c: c["annotations"][1].update(id=-(2**63)), f"an id is at most {2**63 - 1}"),
        (lambda c: c["images"][1].update(id=True), "id true: a whole number is expected"),
        (lambda c: c["images"][1].update(id=7), "id 7 is used by an earlier entry of images"),
        (lambda c: c["categories"][0].pop("name"), r"categories\[0\] \(id 1\): name missing"),
        (lambda c: c["categories"].append({"id": 0, "name": "x"}), "id 0: category ids must start from 1"),
        (lambda c: c["categories"].append({"id": -2, "name": "x"}), "id -2: category ids must start from 1"),
        (lambda c: c["categories"].append({"id": 1, "name": "x"}), "id 1 is used by an earlier entry of categories"),
        (lambda c: c["annotations"][0].update(image_id=8), "image_id 8: no entry of images has this id"),
        (lambda c: c["annotations"][0].update(image_id=[7]), r"image_id \[7\]: a whole number, the id of an entry, is"),
        (lambda c: c["annotations"][0].update(image_id="7"), 'image_id "7": a whole number is expected: 7, without'),
        (lambda c: c["annotations"][0].update(category_id=90.0), r"category_id 90\.0: a whole number is expected: 90,"),
        (lambda c: c["annotations"][0].update(category_id=2), "category_id 2: no entry of categories has this id"),
        (lambda c: c["annotations"][0].update(category_id=0), r"category_id 0: .* \(ids start from 1\)"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"bbox \[1, 2, 3\]: four numbers are expected"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, None]), "four numbers are expected"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), "four numbers are expected"),
        (lambda c: c["annotations"][0].update(area="big"), 'area "big": a number of pixels'),
        (lambda c: c["annotations"][0].update(area=-1), "area -1: a number of pixels from 0 to"),
        (lambda c: c["annotations"][0].update(area=1e12), "area 1000000000000.0: a number of pixels from 0 to"),
        (lambda c: [c["annotations"][0].pop(key) for key in ("image_id", "bbox")], "image_id, bbox missing"),
        (lambda c: c["annotations"][0].update(bbox=[]), r"bbox \[\]: four numbers are expected"),
        (lambda c: c["annotations"][0].update(bbox=None), "bbox null: four numbers are expected"),
        (lambda c: c["annotations"][0].update(iscrowd=2), "iscrowd 2: the number 0 or 1 is expected"),
        (lambda c: c["annotations"][0].update(iscrowd="0"), 'iscrowd "0": the number 0 or 1 is expected'),
        (lambda c: c["annotations"][0].update(iscrowd=[0]), r"iscrowd \[0\]: the number 0 or 1 is expected"),
        (lambda c: c["annotations"][1].update(id=11), "id 11 is used by an earlier entry of annotations"),
        (lambda c: c["annotations"][0].update(segmentation="x"), 'segmentation "x": a list of polygons, or run'),
    ],
)  # fmt: skip
def test_invalid_entry_is_named_with_its_fault(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as failure:
        load(tmp_path, broken(change))
    assert str(failure.value).startswith(str(tmp_path / "instances.json"))
    assert "\n" not in str(failure.value), "one fault, one problem"


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "instances.json")
    with pytest.raises(InvalidInput, match="instances.json: cannot be read: it is a pipe"):
        read_json(str(tmp_path / "instances.json"))


def test_repeated_section_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text('{"images": [], "info": {"images": 3}, "annotations": [], "images": [], "categories": []}')
    with pytest.raises(InvalidInput, match="has images more than once"):
        read_json(str(path))
    path.write_text('{"images": [], "info": {"images": 3, "annotations": 5}, "annotations": []}')
    assert read_json(str(path))["images"] == []


def test_missing_segmentation_is_refused_only_with_masks(tmp_path: Path) -> None:
    content = broken(lambda c: c["annotations"][1].pop("segmentation"))
    assert load(tmp_path, content).annotations_of(7)[1].segmentation is None
    with pytest.raises(InvalidInput, match=r"annotations\[1\] \(id 12\): segmentation is missing: .*--no-include_mask"):
        load(tmp_path, content, require_masks=True)


def test_id_of_an_invalid_entry_is_not_reported_as_unknown(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["images"][0].update(width=-1)
        content["categories"][1].update(name=None)

    with pytest.raises(InvalidInput) as failure:
        load(tmp_path, broken(change))
    assert str(failure.value).count("\n") == 2
    assert "no entry of" not in str(failure.value)


def test_several_problems_at_once_and_no_more_than_twenty(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"] = [{**content["annotations"][0], "id": i, "category_id": 5} for i in range(1, 31)]

    with pytest.raises(InvalidInput) as failure:
        load(tmp_path, broken(change))
    lines = str(failure.value).splitlines()
    assert lines[0].endswith("instances.json: 30 problems:")
    assert lines[20].strip().startswith("annotations[19] (id 20): category_id 5")
    assert lines[21].strip() == "and 10 more"
    assert len(lines) == 22


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON: .* at line 1, column 2"),
        (
            '{"info":\n' + "[" * 100_000,
            "instances.json: line 2: arrays or objects are nested more than 100 deep; a",
        ),
        (
            '{"a": "' + "[" * 200 + '",\n\n"b": ' + '{"c":' * 5000,
            "line 3: arrays or objects are nested more than 100 deep",
        ),
        (
            '{"a": 1,\n"b": -' + "9" * 5000 + "}",
            "instances.json: line 2: a number has 5,000 digits; those of COCO",
        ),
        ('{"a": "' + "1" * 5000 + '",\n"b": ' + "2" * 6000 + "}", "line 2: a number has 6,000 digits"),
        (
            "[]",
            r"holds \[\]: an object with images, annotations, and categories is expected \(a list is the format of res",
        ),
        ("", "not valid JSON"),
    ],
)
def test_text_that_is_not_an_annotation_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="none.json: cannot be read: No such file"):
        load_coco(tmp_path / "none.json")
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        load_coco(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}".encode("utf-16"), "b.json is UTF-16 text; save it as UTF-8"),
        ("{}".encode("utf-32"), "b.json is UTF-32 text; save it as UTF-8"),
        (b"\xfe\xff\0{\0}", "b.json is UTF-16 text; save it as UTF-8"),
        ("{}".encode("utf-16-le"), "b.json is UTF-16 or UTF-32 text; save it as UTF-8"),
        (gzip.compress(b"{}"), r"b.json is compressed \(gzip\), not text; unpack it"),
        (lzma.compress(b"{}"), r"b.json is compressed \(xz\), not text; unpack it"),
        (bz2.compress(b"{}"), r"b.json is compressed \(bzip2\), not text; unpack it"),
        (b'{\n"a": "\xe4"}', "b.json is not UTF-8 text: line 2 has the byte 0xe4; save the file as UTF-8"),
    ],
    ids=["utf-16", "utf-32", "utf-16-be", "utf-16 without mark", "gzip", "xz", "bzip2", "latin-1"],
)
def test_content_that_is_not_utf8_is_named_with_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=f"^{tmp_path}/{message}$"):
        load_coco(tmp_path / "b.json")


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("\ufeff" + json.dumps(GOOD))
    assert num_annotations(load_coco(tmp_path / "b.json")) == 2


def test_file_without_annotations_is_accepted(tmp_path: Path) -> None:
    assert load(tmp_path, broken(lambda c: c.update(annotations=[]))).annotations == {}


@pytest.mark.parametrize("absent", [lambda one, key: one.pop(key), lambda one, key: one.update({key: None})])
def test_missing_iscrowd_counts_as_0(tmp_path: Path, absent: Callable[[dict[str, Any], str], Any]) -> None:
    content = broken(lambda c: [absent(one, "iscrowd") for one in c["annotations"]])
    assert [one.is_crowd for one in load(tmp_path, content).annotations_of(7)] == [False, False]


@pytest.mark.parametrize("absent", [lambda one, key: one.pop(key), lambda one, key: one.update({key: None})])
def test_missing_area_is_left_to_the_mask(tmp_path: Path, absent: Callable[[dict[str, Any], str], Any]) -> None:
    content = broken(lambda c: absent(c["annotations"][0], "area"))
    assert [one.area for one in load(tmp_path, content).annotations_of(7)] == [None, 9.5]


@pytest.mark.parametrize(
    ("section", "wrong"),
    [("images", {"id": "7"}), ("images", {"id": 7.0}), ("images", {"id": None}),
     ("categories", {"id": "90"}), ("categories", {"id": -90}), ("categories", {"id": 90.0})],
)  # fmt: skip
def test_wrong_id_of_an_entry_is_reported_once_without_its_annotations(
    tmp_path: Path, section: str, wrong: dict[str, Any]
) -> None:
    entry = next(one for one in GOOD[section] if one["id"] in (7, 90))

    def change(content: dict[str, Any]) -> None:
        content[section][GOOD[section].index(entry)].update(wrong)
        for annotation in content["annotations"] if wrong["id"] == -90 else ():
            annotation["category_id"] = -90

    with pytest.raises(InvalidInput, match=rf"{section}\[") as failure:
        load(tmp_path, broken(change))
    assert "\n" not in str(failure.value)


def test_category_zero_without_objects_may_be_removed(tmp_path: Path) -> None:
    content = broken(lambda c: c["categories"].insert(0, {"id": 0, "name": "all"}))
    with pytest.raises(InvalidInput, match=r"categories\[0\] \(id 0\): .*; no annotation uses this entry, remove it"):
        load(tmp_path, content)
    content["annotations"][0]["category_id"] = 0
    with pytest.raises(InvalidInput, match=r"id 0: .*; renumber categories and category_id"):
        load(tmp_path, content)


def test_file_names_are_required_only_for_a_conversion() -> None:
    content = broken(lambda c: [image.pop("file_name") for image in c["images"]])
    assert [image.file_name for image in checked_dataset(content, "x", require_files=False).images] == ["", ""]
    with pytest.raises(InvalidInput, match="file_name missing"):
        checked_dataset(content, "x")


def test_category_name_with_two_ids_that_have_objects_is_refused(tmp_path: Path) -> None:
    content = broken(lambda c: c["categories"][1].update(name="cat"))
    with pytest.raises(InvalidInput, match='category "cat" has ids [0-9]+ and [0-9]+ in .*json'):
        load(tmp_path, content)


def test_category_name_of_an_unused_id_is_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(tmp_path, broken(lambda c: c["categories"].append({"id": 77, "name": "cat"})))
    assert caplog.text == ""


def test_duplicate_annotations_are_warned_about_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"] += [{**content["annotations"][0], "id": number} for number in range(20, 25)]

    load(tmp_path, broken(change))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'instances.json'}: 5 annotations repeat the category and box of another annotation of the same "
        "image, with ids 20, 21, 22, ..."
    ]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "images", "objects", "categories"),
    [("coco/instances_val.json", 52, 378, 80), ("nuclei/instances_val.json", 100, 3944, 1)],
)
def test_real_annotations(test_data: Path, name: str, images: int, objects: int, categories: int) -> None:
    dataset = load_coco(test_data / name, require_masks=True)
    assert (len(dataset.images), num_annotations(dataset), len(dataset.categories)) == (images, objects, categories)
