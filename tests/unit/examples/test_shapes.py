"""Generated data set: it is reproducible, masks show visible pixels, and some annotations are broken on purpose."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

GENERATOR = Path(__file__).resolve().parents[3] / "examples" / "shapes" / "generate.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shapes_generate", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("shapes")
    assert generator.main(["--output", str(output), "--train", "20", "--val", "5", "--seed", "3"]) == 0
    return output


def split(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return content


def digest(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def decode(segmentation: Any, size: int) -> NDArray[np.bool_]:
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, size, size))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, size, size)
    return np.asarray(coco_mask.decode(segmentation), dtype=bool)


def test_same_arguments_give_the_same_bytes(generator: ModuleType, folder: Path, tmp_path: Path) -> None:
    generator.generate(tmp_path / "again", {"train": 20, "val": 5}, 3)
    assert digest(tmp_path / "again") == digest(folder)
    generator.generate(tmp_path / "other", {"train": 1, "val": 1}, 4)
    assert digest(tmp_path / "other")["images/000001.jpg"] != digest(folder)["images/000001.jpg"]


def test_larger_data_set_starts_with_the_smaller_one(generator: ModuleType, folder: Path, tmp_path: Path) -> None:
    generator.generate(tmp_path, {"train": 2, "val": 1}, 3)
    short, long = digest(tmp_path), digest(folder)
    assert [short[f"images/00000{number}.jpg"] for number in (1, 2)] == [
        long[f"images/00000{number}.jpg"] for number in (1, 2)
    ]


def test_every_listed_image_exists(folder: Path) -> None:
    for name, count in (("train", 20), ("val", 5)):
        images = split(folder, name)["images"]
        assert len(images) == count
        for image in images:
            pixels = cv2.imread(str(folder / "images" / image["file_name"]))
            assert pixels is not None
            assert pixels.shape == (image["height"], image["width"], 3) == (128, 128, 3)


def test_masks_cover_visible_pixels_only(folder: Path) -> None:
    content = split(folder, "val")
    for image in content["images"]:
        mine = [item for item in content["annotations"] if item["image_id"] == image["id"]]
        masks = [decode(item["segmentation"], 128) for item in mine]
        assert np.sum(masks, axis=0).max() == 1, "a pixel belongs to two objects"
        for item, mask in zip(mine, masks, strict=True):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            expected = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            assert item["bbox"] == expected
            assert item["area"] == mask.sum()
        assert 5 <= sum(not item["iscrowd"] for item in mine) <= 8
    sides = np.array([item["bbox"][2:] for item in content["annotations"] if not item["iscrowd"]])
    assert sides.min() >= 12
    assert 45 <= sides.max() <= 66
    assert {item["category_id"] for item in content["annotations"]} == {1, 2, 3}
    kinds = {type(item["segmentation"]).__name__ for item in content["annotations"] if not item["iscrowd"]}
    assert kinds == {"list", "dict"}


def test_each_split_has_a_crowd(folder: Path) -> None:
    for name in ("train", "val"):
        crowds = [item for item in split(folder, name)["annotations"] if item["iscrowd"]]
        assert len(crowds) == 1
        assert isinstance(crowds[0]["segmentation"]["counts"], list)
        assert decode(crowds[0]["segmentation"], 128).sum() == crowds[0]["area"] > 300


def test_some_training_annotations_are_broken(folder: Path) -> None:
    past_border, without_extent, mask_outside = 0, 0, 0
    for item in split(folder, "train")["annotations"]:
        x, y, width, height = item["bbox"]
        tight = coco_mask.toBbox(coco_mask.encode(np.asfortranarray(decode(item["segmentation"], 128), np.uint8)))
        past_border += x + width > 128 or y + height > 128
        without_extent += width <= 0 or height <= 0
        mask_outside += tight[0] < x - 1.5 and x + width <= 128
    assert past_border >= 1
    assert without_extent >= 1
    assert mask_outside >= 1
    assert past_border + without_extent + mask_outside <= 7
    ids = [item["id"] for item in split(folder, "train")["annotations"]]
    assert len(set(ids)) == len(ids)
