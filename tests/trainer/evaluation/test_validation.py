"""Evaluation of a detector on validation records: repeated evaluations, ranks, and stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tensorflow.python.eager import context

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.identity import validation_identity
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.detector import Detections
from maskrcnn_trainer.errors import Stopped
from maskrcnn_trainer.evaluation import validation
from maskrcnn_trainer.evaluation.validation import DetectorValidation
from maskrcnn_trainer.evaluation.validation_data import open_validation
from maskrcnn_trainer.model.architecture import Architecture, MaskPasting
from maskrcnn_trainer.spec import ExperimentSpec

pytestmark = pytest.mark.trainer

GRAY = np.full((64, 64, 3), 90, np.uint8)
IMAGES = 5
BOX = (8.0, 8.0, 40.0, 40.0)


class BoxDetector:
    """Detector that finds the object of every image."""

    class_map = ClassMap((1,), ("thing",), 2)
    architecture = Architecture(num_classes=2)
    batch_size = 2
    detections_per_image = 1
    step = None

    def detect(self, images: NDArray[np.float32]) -> list[Detections]:
        scale = images.shape[1] / len(GRAY)
        box = np.array([BOX], np.float32) * np.float32(scale)
        scores, masks = np.full(1, 0.9, np.float32), np.full((1, 28, 28), 20.0, np.float32)
        return [Detections(box, np.ones(1, np.int32), scores, masks)] * len(images)


@dataclass
class Rank:
    """One rank of a worker group whose other ranks send nothing."""

    rank: int
    size: int

    def collect(self, payload: NDArray[np.uint8]) -> list[NDArray[np.uint8]] | None:
        return [payload] if self.rank == 0 else None


@pytest.fixture
def spec(
    tmp_path: Path,
    write_records: Callable[..., RecordIndex],
    make_spec: Callable[..., ExperimentSpec],
    picture: type,
    thing: type,
) -> ExperimentSpec:
    index = write_records([picture(GRAY, [thing(BOX, 1)], str(number)) for number in range(1, IMAGES + 1)])
    y1, x1, y2, x2 = BOX
    box = [x1, y1, x2 - x1, y2 - y1]
    annotations: list[dict[str, Any]] = [
        {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
         "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
        for number in range(1, IMAGES + 1)
    ]  # fmt: skip
    truth = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": 64, "width": 64} for number in range(1, IMAGES + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(truth))
    return make_spec(
        data={
            "validation_file_pattern": f"{Path(index.files[0]).parent}/train-*",
            "val_json_file": str(tmp_path / "val.json"),
        }
    )


def test_later_evaluations_leave_nothing_behind(spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = validation.evaluation_dataset
    monkeypatch.setattr(validation, "evaluation_dataset", lambda *a, **k: made.append(1) or original(*a, **k))
    own = DetectorValidation(spec, BoxDetector(), open_validation(spec), threads=1)
    functions = []
    for _ in range(4):
        result = own.run()
        assert result is not None
        assert (result.num_images, result.metrics["AP50"], result.results) == (IMAGES, pytest.approx(1.0), [])
        functions.append(len(context.context().list_function_names()))
    assert functions[1:] == functions[:1] * 3
    assert len(made) == 1


@pytest.mark.parametrize(("pasting", "box"), [("pixel_centers", [8, 8, 32, 32]), ("whole_pixels", [7, 7, 34, 34])])
def test_masks_are_pasted_in_the_way_of_the_model(pasting: MaskPasting, box: list[int], spec: ExperimentSpec) -> None:
    detector = BoxDetector()
    detector.architecture = replace(BoxDetector.architecture, mask_pasting=pasting)
    result = DetectorValidation(spec, detector, open_validation(spec), threads=1).run(keep_results=True)
    assert result is not None
    assert coco_mask.toBbox(result.results[0]["segmentation"]).tolist() == box


def test_ranks_keep_the_annotations_of_their_own_images(spec: ExperimentSpec) -> None:
    other = DetectorValidation(spec, BoxDetector(), open_validation(spec), threads=1, group=Rank(1, 2))
    first = DetectorValidation(spec, BoxDetector(), open_validation(spec), threads=1, group=Rank(0, 2))
    assert [annotation["image_id"] for annotation in other.ground_truth.annotations] == [2, 4]
    assert [annotation["image_id"] for annotation in first.ground_truth.annotations] == [1, 3, 5]
    assert other.run() is None


def test_stop_request_ends_an_evaluation_between_batches(spec: ExperimentSpec) -> None:
    asked = iter([False, True])

    def check() -> None:
        if next(asked):
            raise Stopped("on request")

    with pytest.raises(Stopped):
        DetectorValidation(spec, BoxDetector(), open_validation(spec), threads=1).run(check_stop=check)
    assert next(asked, None) is None


def test_evaluated_images_have_the_places_of_their_records(spec: ExperimentSpec) -> None:
    limited = spec.model_copy(update={"data_config": spec.data_config.model_copy(update={"eval_samples": IMAGES - 1})})
    own = DetectorValidation(limited, BoxDetector(), open_validation(limited), threads=1)
    result = own.run()
    assert result is not None
    found = own.evaluated_images(result)
    assert found.evaluated_on == validation_identity(limited, own.records)
    assert found.annotations == limited.data_config.val_json_file
    assert [image.id for image in found.images] == list(range(1, IMAGES))
    for image in found.images:
        payload = Path(image.file).read_bytes()[image.offset :]
        assert str(image.id).encode() in payload[: len(payload) // IMAGES]
        assert Path(image.file).is_absolute()
    offsets = [image.offset for image in found.images]
    assert offsets == [int(offset) for offset in own.records.offsets[: IMAGES - 1]]
