"""Names of classes, label files and the data set of all detections."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.inference.class_names import category_names, read_class_map
from maskrcnn_trainer.inference.labels import LabeledImage, label_objects, prediction_dataset
from maskrcnn_trainer.inference.stages import StageClock, shares

GAPS = ClassMap(ids=(2, 5, 9), names=("cat", "", "dog"), num_classes=4)
WHOLE = ClassMap(ids=(1, 2, 3), names=("a", "b", ""), num_classes=4)


def test_model_names_are_used_without_a_class_map() -> None:
    assert category_names(GAPS) == {2: "cat", 5: "class 5", 9: "dog"}
    assert category_names(WHOLE, ["x", "", "z"]) == {1: "x", 2: "b", 3: "z"}


def test_line_n_is_the_name_of_id_n(caplog: pytest.LogCaptureFixture) -> None:
    lines = [f"n{number}" for number in range(1, 10)]
    assert category_names(GAPS, lines) == {2: "n2", 5: "n5", 9: "n9"}
    assert not caplog.records
    assert category_names(GAPS, lines[:6]) == {2: "n2", 5: "n5", 9: "dog"}
    assert "6 lines, but the category ids go up to 9" in caplog.text
    assert category_names(WHOLE, lines)[3] == "n3"
    assert "9 lines, but the category ids only go up to 3" in caplog.text


def test_a_line_a_class_where_ids_have_gaps(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    mixed = ClassMap(ids=(9, 2, 5), names=("", "", ""), num_classes=4)
    assert category_names(mixed, ["x", "y", "z"]) == {2: "x", 5: "y", 9: "z"}
    assert "in ascending order" in caplog.text


def test_a_class_map_is_read_whatever_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    for text in ("cat\nhot dog", "cat\nhot dog\n", "cat\r\nhot dog\r\n\n", "\ufeffcat\nhot dog", "BG\ncat\nhot dog\n"):
        path.write_bytes(text.encode())
        assert read_class_map(path) == ["cat", "hot dog"]
    path.write_bytes(b"\n \n")
    with pytest.raises(InvalidInput, match="empty; expected"):
        read_class_map(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_class_map(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_class_map(tmp_path / "absent")


def labeled(image_id: int, name: str, *, masks: bool) -> LabeledImage:
    results = [
        {"image_id": image_id, "category_id": 5, "bbox": [10.4, 20.6, 30.3, 15.2], "score": 0.9},
        {"image_id": image_id, "category_id": 2, "bbox": [0.0, 0.0, 4.0, 2.5], "score": 0.7},
    ]
    if masks:
        for result in results:
            x, y, width, height = (round(value) for value in result["bbox"])  # type: ignore[attr-defined]
            mask = np.zeros((60, 80), np.uint8, order="F")
            mask[y : y + height, x : x + width] = 1
            rle = coco_mask.encode(mask)
            result["segmentation"] = {"size": [60, 80], "counts": rle["counts"].decode()}
    return LabeledImage(image_id, name, 60, 80, results)


def test_a_label_file_has_the_originals_fields() -> None:
    first, second = label_objects(labeled(4, "c/x.jpg", masks=False))
    assert first == {
        "area": 31 * 15,
        "is_crowd": 0,
        "image_id": "c/x.jpg",
        "bbox": [10, 21, 31, 15],
        "id": 1,
        "category_id": 5,
        "score": 0.9,
    }
    assert second["id"] == 2
    masked = label_objects(labeled(4, "c/x.jpg", masks=True))
    assert coco_mask.decode(masked[0]["segmentation"]).sum() == 30 * 15


@pytest.mark.parametrize("masks", [False, True])
def test_pycocotools_loads_the_predictions(tmp_path: Path, masks: bool) -> None:
    images = [
        labeled(139, "139.jpg", masks=masks),
        labeled(4, "4.jpg", masks=masks),
        LabeledImage(8, "8.jpg", 5, 6, []),
    ]
    content = prediction_dataset(images, {2: "cat", 5: "class 5", 9: "dog"})
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(content))
    coco = COCO(str(path))
    assert sorted(coco.getImgIds()) == [4, 8, 139]
    assert coco.loadCats(coco.getCatIds())[1] == {"id": 5, "name": "class 5"}
    assert len(coco.getAnnIds(imgIds=[139])) == 2
    assert len({annotation["id"] for annotation in content["annotations"]}) == 4
    loaded = coco.loadRes(json.loads(path.read_text())["annotations"])
    assert [one["score"] for one in loaded.loadAnns(loaded.getAnnIds())] == [0.9, 0.7, 0.9, 0.7]
    first = content["annotations"][0]
    assert first["area"] == (30 * 15 if masks else round(30.3 * 15.2, 3))
    if masks:
        assert coco.annToMask(first).sum() == 30 * 15


def test_time_is_added_up_by_stage() -> None:
    now = iter([0.0, 2.0, 10.0, 11.0, 20.0, 21.0])
    clock = StageClock(clock=lambda: next(now))
    for name in ("network", "decode", "network"):
        with clock.stage(name):
            pass
    assert clock.seconds == {"decode": 1.0, "network": 3.0, "paste": 0.0, "draw": 0.0, "write": 0.0}
    assert shares(clock.seconds)["network"] == 0.75
    assert shares({"decode": 0.0}) == {"decode": 0.0}
