"""The inference pipeline: order, batches, output files, skipped images, and stops."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.detector import Detections
from maskrcnn_trainer.errors import Stopped
from maskrcnn_trainer.evaluation.drawing import class_color
from maskrcnn_trainer.inference.pipeline import Output, run_inference
from maskrcnn_trainer.inference.sources import find_images
from maskrcnn_trainer.model.architecture import Architecture, MaskPasting

SIDE = 8


class OneBox:
    """Detector that finds the same three objects (scores 0.9, 0.5 and 0.2) in every image and records its input."""

    class_map = ClassMap(ids=(3, 7), names=("cat", "dog"), num_classes=3)
    architecture = Architecture(nlayers=10, num_classes=3, mrcnn_resolution=SIDE)
    image_size = (64, 64)
    batch_size = 4
    detections_per_image = 3
    step = 1

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []
        self.threads: set[int] = set()

    def detect(self, images: Any) -> list[Detections]:
        self.batches.append(images)
        self.threads.add(threading.get_ident())
        found = Detections(
            np.array([[8, 16, 24, 48], [0, 0, 10, 10], [0, 0, 9, 9]], np.float32),
            np.array([2, 1, 1], np.int32),
            np.array([0.9, 0.5, 0.2], np.float32),
            np.full((3, SIDE, SIDE), 20.0, np.float32),
        )
        return [found] * len(images)


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        # half of the network's input size
        Image.fromarray(np.full((16, 32, 3), 10 * number, np.uint8)).save(folder / f"{number:02d}.png")


def output(tmp_path: Path, **changes: Any) -> Output:
    for name in ("annotated", "labels"):
        (tmp_path / name).mkdir(exist_ok=True)
    fields: dict[str, Any] = {"names": {3: "cat", 7: "dog"}, "threshold": 0.5} | changes
    return Output(images=tmp_path / "annotated", labels=tmp_path / "labels", **fields)


def test_all_images_in_order_and_in_batches(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 10)
    (tmp_path / "images" / "03.png").write_bytes(b"no image")
    detector, seen = OneBox(), []
    result = run_inference(
        find_images(tmp_path / "images"),
        detector,
        output(tmp_path, include_mask=True),
        threads=3,
        progress=lambda done, unreadable: seen.append((done, unreadable)),
    )
    assert [len(batch) for batch in detector.batches] == [4, 4, 1]
    assert len(detector.threads) == 1
    grays = [round(float(255 * (0.485 + 0.224 * image[0, 0, 0])) / 10) for batch in detector.batches for image in batch]
    assert grays == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [image.image_id for image in result.images] == grays
    assert result.unreadable == ["03.png"]
    assert seen[-1] == (10, 1)
    assert result.detections == 18
    assert (result.first_batch_images, set(result.stage_seconds)) == (
        4,
        {"decode", "network", "paste", "draw", "write"},
    )
    assert all(seconds > 0 for seconds in result.stage_seconds.values())
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [f"{number:02d}.json" for number in grays]
    first, second = json.loads((tmp_path / "labels" / "05.json").read_text())
    # boxes of the padded image at half its size
    assert (first["bbox"], first["category_id"], first["image_id"]) == ([8, 4, 16, 8], 7, "05.png")
    assert (second["bbox"], second["score"]) == ([0, 0, 5, 5], 0.5)
    assert coco_mask.toBbox(first["segmentation"]).tolist() == [8, 4, 16, 8]
    picture = np.asarray(Image.open(tmp_path / "annotated" / "05.png"))
    factor = 19  # 16 pixels become at least 300
    assert picture.shape == (16 * factor, 32 * factor, 3)
    np.testing.assert_array_equal(picture[12 * factor - 1, 20 * factor], class_color(7))
    inside = picture[10 * factor, 16 * factor]
    assert np.abs(inside - (0.55 * 50 + 0.45 * np.array(class_color(7)))).max() <= 2


def test_masks_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 1)
    run_inference(find_images(tmp_path / "images"), OneBox(), output(tmp_path, threshold=0.6), threads=1)
    (only,) = json.loads((tmp_path / "labels" / "00.json").read_text())
    assert "segmentation" not in only
    picture = np.asarray(Image.open(tmp_path / "annotated" / "00.png"))
    np.testing.assert_array_equal(picture[10 * 19, 16 * 19], [0, 0, 0])


def test_files_go_below_the_names_of_their_directories(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 1)
    write_images(tmp_path / "images" / "a", 2)
    run_inference(find_images(tmp_path / "images"), OneBox(), output(tmp_path), threads=2)
    written = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "labels").rglob("*.json")}
    assert written == {"labels/00.json", "labels/a/00.json", "labels/a/01.json"}
    assert (tmp_path / "annotated" / "a" / "01.png").is_file()
    assert not list(tmp_path.rglob("*.partial"))


def test_image_too_large_for_its_format_is_drawn_as_png(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    narrow = Image.fromarray(np.zeros((16384, 2, 3), np.uint8))
    narrow.save(tmp_path / "images" / "narrow.png")
    (tmp_path / "images" / "narrow.png").rename(tmp_path / "images" / "narrow.webp")
    write_images(tmp_path / "images", 1)
    result = run_inference(find_images(tmp_path / "images"), OneBox(), output(tmp_path), threads=2)
    assert [image.name for image in result.images] == ["00.png", "narrow.webp"]
    assert sorted(path.name for path in (tmp_path / "annotated").iterdir()) == ["00.png", "narrow.webp.png"]

    image = tmp_path / "camera-picture"
    (tmp_path / "images" / "00.png").rename(image)
    run_inference(find_images(image), OneBox(), output(tmp_path), threads=2)
    with Image.open(tmp_path / "annotated" / "camera-picture.png") as drawn:
        assert drawn.format == "PNG"


def test_nothing_readable_gives_an_empty_result(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    detector = OneBox()
    result = run_inference(find_images(tmp_path / "x.png"), detector, output(tmp_path), threads=2)
    assert (result.images, result.unreadable, detector.batches) == ([], ["x.png"], [])


def test_stop_and_lost_directory_end_the_inference(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 40)
    asked = iter([False, True])

    def check_stop() -> None:
        if next(asked):
            raise Stopped("stopped on request")

    detector = OneBox()
    sources = find_images(tmp_path / "images")
    with pytest.raises(Stopped):
        run_inference(sources, detector, output(tmp_path), threads=2, check_stop=check_stop)
    assert len(detector.batches) == 1

    def guard() -> None:
        raise PermissionError("taken over by another run")

    with pytest.raises(PermissionError):
        run_inference(sources, OneBox(), output(tmp_path, guard=guard), threads=2)


@pytest.mark.parametrize(("pasting", "box"), [("pixel_centers", [8, 4, 16, 8]), ("whole_pixels", [8, 4, 17, 9])])
def test_masks_are_pasted_in_the_way_of_the_model(pasting: MaskPasting, box: list[int], tmp_path: Path) -> None:
    write_images(tmp_path / "images", 1)
    detector = OneBox()
    detector.architecture = replace(OneBox.architecture, mask_pasting=pasting)
    sources = find_images(tmp_path / "images")
    run_inference(sources, detector, output(tmp_path, include_mask=True, threshold=0.6), threads=1)
    (only,) = json.loads((tmp_path / "labels" / "00.json").read_text())
    assert coco_mask.toBbox(only["segmentation"]).tolist() == box
