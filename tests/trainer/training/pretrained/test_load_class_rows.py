"""Class layers of a network after loading a detector with other classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.training.pretrained import LoadReport, load_checkpoint
from maskrcnn_trainer.training.pretrained.source import Source
from maskrcnn_trainer.training.pretrained.start import Start
from maskrcnn_trainer.weights.style import STYLES, StyleName

pytestmark = pytest.mark.trainer

ARCHITECTURE = Architecture(nlayers=10, num_classes=4, fast_rcnn_mlp_head_dim=8)
DATA = ClassMap(ids=(1, 2, 3), names=("cat", "dog", "person"), num_classes=4)
NAMES = (None, "person", "car", "bus", "dog")
NEW = -1.0


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    return MaskRCNN(ARCHITECTURE)


@pytest.fixture
def fresh(network: MaskRCNN) -> MaskRCNN:
    for variable in network.variables:
        variable.assign(tf.fill(variable.shape, tf.cast(NEW, variable.dtype)))
    return network


def rows(classes: int) -> dict[str, Any]:
    """Return class layers whose values are the number of their class, and two other variables."""
    numbers = np.arange(classes, dtype=np.float32)
    boxes = np.repeat(numbers, 4)
    return {
        "class-predict/kernel": np.tile(numbers, (8, 1)),
        "class-predict/bias": numbers,
        "box-predict/kernel": np.tile(boxes, (8, 1)),
        "box-predict/bias": boxes,
        "mask_fcn_logits/kernel": np.tile(numbers, (1, 1, 256, 1)),
        "mask_fcn_logits/bias": numbers,
        "fc6/bias": np.full(8, 9, np.float32),
        "fc7/bias": np.full(8, 9, np.float32),
    }


def detector(classes: int = 5, names: tuple[str | None, ...] | None = NAMES, *, ours: bool = False) -> Start:
    return Start(
        "m.pth",
        lambda _: Source("Mask R-CNN", rows(classes)),
        replace(ARCHITECTURE, num_classes=classes),
        class_names=names,
        style=None if ours else STYLES[StyleName.DETECTRON2],
    )


def load(start: Start, network: MaskRCNN, mapping: dict[str, str] | None = None, skip: str | None = None) -> LoadReport:
    return load_checkpoint(start, network, class_map=DATA, class_mapping=mapping or {}, skip=skip)


def biases(network: MaskRCNN) -> list[list[float]]:
    """Return the first value of each class in each class layer's bias."""
    values = [network.named_variables[f"{n}/bias"].numpy() for n in ("class-predict", "box-predict", "mask_fcn_logits")]
    return [values[0].tolist(), values[1][::4].tolist(), values[2].tolist()]


def class_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if line.startswith("checkpoint: class layers: ")]


def test_classes_of_both_keep_their_rows(fresh: MaskRCNN, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        report = load(detector(), fresh)
    assert biases(fresh) == [[0, NEW, 4, 1]] * 3
    assert fresh.named_variables["fc6/bias"].numpy()[0] == 9
    assert "class-predict/kernel" in report.loaded
    assert class_lines(caplog) == [
        "checkpoint: class layers: weights of the background and of 2 classes (dog, person) are those of the file; new "
        "are those of 1 class (cat)"
    ]


def test_mapped_classes_keep_their_rows(fresh: MaskRCNN) -> None:
    load(detector(), fresh, {"bus": "cat"})
    assert biases(fresh) == [[0, 3, 4, 1]] * 3


def test_mapping_of_an_unknown_class_changes_nothing(fresh: MaskRCNN) -> None:
    with pytest.raises(InvalidInput, match=r'^classMapping: "tram" is not a class of the file'):
        load(detector(), fresh, {"tram": "cat"})
    assert biases(fresh) == [[NEW] * 4] * 3


def test_equal_numbers_of_classes_are_taken_by_name_too(fresh: MaskRCNN) -> None:
    load(detector(4, (None, "person", "dog", "cat")), fresh)
    assert biases(fresh) == [[0, 3, 2, 1]] * 3


def test_rows_without_names_are_taken_in_their_order_with_a_warning(
    fresh: MaskRCNN, caplog: pytest.LogCaptureFixture
) -> None:
    load(detector(4, None), fresh)
    assert biases(fresh) == [[0, 1, 2, 3]] * 3
    (line,) = class_lines(caplog)
    assert "names of the file's classes are unknown" in line
    assert line.endswith("give checkpointClassNames")


def test_classes_without_names_are_new_if_their_number_differs(
    fresh: MaskRCNN, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        load(detector(5, None), fresh)
    assert biases(fresh) == [[0, NEW, NEW, NEW]] * 3
    assert class_lines(caplog)[0].endswith("the file's classes have no known names")


def test_our_model_of_as_many_classes_is_taken_as_it_is(fresh: MaskRCNN, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        load(detector(4, (None, "x", "y", "z"), ours=True), fresh)
    assert biases(fresh) == [[0, 1, 2, 3]] * 3
    assert class_lines(caplog) == []


def test_our_model_of_other_classes_is_taken_by_name(fresh: MaskRCNN) -> None:
    load(detector(ours=True), fresh)
    assert biases(fresh) == [[0, NEW, 4, 1]] * 3


def test_skipped_variables_are_left_out_afterwards(fresh: MaskRCNN, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        report = load(detector(), fresh, skip="box-predict")
    assert biases(fresh) == [[0, NEW, 4, 1], [NEW] * 4, [0, NEW, 4, 1]]
    assert sorted(report.skipped) == ["box-predict/bias", "box-predict/kernel"]
    assert len(class_lines(caplog)) == 1


def test_class_layers_that_are_all_skipped_have_no_line(fresh: MaskRCNN, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        for start in (detector(), detector(4, None)):
            load(start, fresh, skip="class-predict|box-predict|mask_fcn_logits")
    assert biases(fresh) == [[NEW] * 4] * 3
    assert class_lines(caplog) == []


def test_mapping_without_class_layers_has_no_effect(fresh: MaskRCNN, caplog: pytest.LogCaptureFixture) -> None:
    backbone = Start("r.pth", lambda _: Source("ResNet", {"fc6/bias": np.zeros(8, np.float32)}))
    load(backbone, fresh, {"bus": "cat"})
    assert "checkpoint: classMapping has no effect: r.pth has no class layers" in caplog.messages


def test_heads_of_another_width_are_refused_by_name(fresh: MaskRCNN) -> None:
    narrow = {**rows(5), "class-predict/kernel": np.zeros((4, 5), np.float32)}
    start = replace(detector(ours=True), source_for=lambda _: Source("model file", narrow))
    with pytest.raises(InvalidInput, match=r"class-predict/kernel: \(4, 5\) in the file, \(8, 4\) in the network"):
        load(start, fresh)


def test_missing_mask_head_is_one_warning(fresh: MaskRCNN, caplog: pytest.LogCaptureFixture) -> None:
    """Of a Faster R-CNN, apart from what this stand-in lacks."""
    values = {
        name: variable.numpy()
        for name, variable in fresh.named_variables.items()
        if not name.startswith(("mask", "conv5"))
    }
    values |= {name: value for name, value in rows(5).items() if not name.startswith("mask")}
    load(replace(detector(), source_for=lambda _: Source("Faster R-CNN", values)), fresh)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    count = len(fresh.named_variables)
    assert warnings == [f"checkpoint: 12 of {count} variables keep random initial values: mask_head"]
