"""Model files of this project, written as torchvision saves a detector."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.weights import key_lists

from maskrcnn_trainer.weights.detector import head_shapes
from maskrcnn_trainer.weights.file import read_weight_file
from maskrcnn_trainer.weights.opening import DetectorOptions, OpenedDetector, open_detector
from maskrcnn_trainer.weights.project import project_of
from maskrcnn_trainer.weights.resnet_layers import resnet_shapes
from torchvision_names import tensors_of, write_detector

HEADS = {"num_classes": 3, "background_last": False, "has_masks": True}
Variables = dict[str, np.ndarray]


def variables_of_a_model(nlayers: int, head_dim: int) -> Variables:
    shapes = resnet_shapes(nlayers) | head_shapes(nlayers, head_dim=head_dim, **HEADS)
    rng = np.random.default_rng(1)
    # as large as in a trained stem: the reader checks that it fits the input
    values = {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    return values | {name: 1 + np.abs(values[name]) for name in values if name.endswith(("gamma", "moving_variance"))}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Variables, OpenedDetector]:
    variables = variables_of_a_model(18, head_dim=4)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    write_detector(path, variables)
    file = read_weight_file(path)
    options = DetectorOptions(style="torchvision", bn_epsilon=1e-5, class_names=("square", "triangle"))
    return variables, open_detector(file, project_of(file), options)


def test_written_model_opens_with_the_same_variables(written: tuple[Variables, OpenedDetector]) -> None:
    variables, opened = written
    assert set(opened.values) == set(variables)
    for name in set(variables) - {"conv1/kernel"}:
        np.testing.assert_array_equal(opened.values[name], variables[name], err_msg=name)


def test_stem_of_a_written_model_is_the_same_but_for_rounding(written: tuple[Variables, OpenedDetector]) -> None:
    variables, opened = written
    np.testing.assert_allclose(opened.values["conv1/kernel"], variables["conv1/kernel"], rtol=3e-7)


def test_written_model_opens_without_remarks(written: tuple[Variables, OpenedDetector]) -> None:
    assert written[1].notes == ()
    assert written[1].ignored == {}


@pytest.mark.parametrize("nlayers", [18, 50])
def test_names_and_shapes_are_those_of_torchvision(nlayers: int) -> None:
    shapes = resnet_shapes(nlayers) | head_shapes(nlayers, head_dim=1024, **HEADS)
    zeros = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items() if "fc6/k" not in name}
    expected = key_lists.torchvision(nlayers, classes=3)
    del expected["roi_heads.box_head.fc6.weight"]
    assert {name: tensor.shape for name, tensor in tensors_of(zeros).items()} == expected


def test_variable_that_torchvision_lacks_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"no tensor for block_1a_conv_9/kernel$"):
        tensors_of({"block_1a_conv_9/kernel": np.zeros((1, 1, 1, 1), np.float32)})
