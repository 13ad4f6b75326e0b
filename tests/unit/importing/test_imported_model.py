"""Model file of a detector: architecture, ids of its classes, and its spec."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.importing.imported_model import class_map_of_rows, imported_model
from maskrcnn_trainer.model.architecture import architecture_of
from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.weights.class_rows import COCO_NAMES
from maskrcnn_trainer.weights.opening import OpenedDetector, architecture_of_style
from maskrcnn_trainer.weights.style import STYLES, StyleName

STYLE = STYLES[StyleName.MMDET_CAFFE]
DETECTOR = OpenedDetector(
    path="m.pth",
    style=STYLE,
    architecture=architecture_of_style(STYLE, nlayers=50, num_classes=3, head_dim=1024),
    values={"fc6/bias": np.ones(4, np.float32)},
    class_names=(None, "circle", "square"),
    has_masks=True,
    ignored={},
    notes=(),
)
TORCHVISION = tuple(COCO_NAMES.get(row) for row in range(91))
OTHERS = (None, *COCO_NAMES.values())


def test_model_has_the_weights_and_the_architecture_of_the_detector() -> None:
    model = imported_model(DETECTOR)
    assert architecture_of(model) == DETECTOR.architecture
    assert dict(model.variables) == dict(DETECTOR.values)
    assert (model.step, model.optimizer, model.state, model.retrain_required) == (0, {}, {}, False)


def test_spec_of_the_model_is_valid_and_contradicts_nothing() -> None:
    model = imported_model(DETECTOR)
    spec = parse_spec(dict(model.experiment))
    assert DETECTOR.architecture.contradictions(spec) == []
    assert (spec.checkpoint, spec.checkpoint_style) == ("m.pth", "mmdet-caffe")
    assert spec.data_config.image_size == (832, 1344)


@pytest.mark.parametrize("names", [TORCHVISION, OTHERS])
def test_classes_of_coco_have_their_ids_and_names(names: tuple[str | None, ...]) -> None:
    class_map = class_map_of_rows(names, len(names))
    assert {number: class_map.name_of(number) for number in COCO_NAMES} == COCO_NAMES
    assert sum(name != "" for name in class_map.names) == 80


def test_ids_of_91_rows_are_the_numbers_of_the_rows() -> None:
    class_map = class_map_of_rows(TORCHVISION, 91)
    assert class_map.identity
    assert (class_map.names[10], class_map.names[11], class_map.names[12]) == ("fire hydrant", "", "stop sign")


def test_81_rows_have_the_ids_of_coco_with_their_gaps() -> None:
    assert class_map_of_rows(OTHERS, 81).ids == tuple(COCO_NAMES)


def test_coco_classes_in_another_order_keep_their_ids() -> None:
    class_map = class_map_of_rows((None, *reversed(OTHERS[1:])), 81)
    assert list(class_map.ids) == sorted(COCO_NAMES, reverse=True)
    assert class_map.name_of(1) == "person"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((None, "person", "car"), ("person", "car")),
        ((None, "person", None), ("person", "")),
        (None, ("", "")),
    ],
)
def test_other_classes_have_the_ids_from_1(names: tuple[str | None, ...] | None, expected: tuple[str, str]) -> None:
    assert class_map_of_rows(names, 3) == ClassMap(ids=(1, 2), names=expected, num_classes=3)


def test_detector_without_masks_is_refused_with_what_it_can_be_used_for() -> None:
    with pytest.raises(InvalidInput, match=r"^checkpoint: m\.pth is a Faster R-CNN, .* as 'checkpoint' in the spec"):
        imported_model(replace(DETECTOR, has_masks=False))


def test_weights_that_are_not_finite_are_refused() -> None:
    values = {"fc6/bias": np.array([0, np.nan], np.float32)}
    with pytest.raises(InvalidInput, match=r"^checkpoint: m\.pth: fc6/bias has values that are NaN or infinite$"):
        imported_model(replace(DETECTOR, values=values))
