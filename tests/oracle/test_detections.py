"""Detections by the model file of ``maskrcnn import`` and by its ONNX export, compared with the original code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.oracle.comparison import Agreement, Found, agreement_of
from tests.oracle.conftest import SIZE, Original
from tests.oracle.ours import normalized, opened, spec_of

from maskrcnn_trainer.data.class_map import class_map_of
from maskrcnn_trainer.detector import Detector, open_detector
from maskrcnn_trainer.evaluation.paste import paste_masks
from maskrcnn_trainer.export.graph import export_graph
from maskrcnn_trainer.model.architecture import LARGEST_TOPK
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.restore import network_of
from maskrcnn_trainer.model_files.model_file import read_model_file

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def model_file(original: Original, network: MaskRCNN) -> Path:
    """Return the original as a model file of this project, which a user would make."""
    path = original.folder / "model.tlt"
    command = [sys.executable, "-m", "maskrcnn_trainer.cli", "import", "-c", str(original.weights)]
    subprocess.run([*command, "--style", original.style, "-o", str(path)], check=True)
    model = read_model_file(path)
    assert set(model.variables) == set(network.named_variables)
    for name, variable in network.named_variables.items():
        np.testing.assert_array_equal(model.variables[name], variable.numpy())
    return path


def test_detections_of_the_model_file(original: Original, model_file: Path) -> None:
    detector = open_detector(model_file, spec_of(SIZE, classes_of(original)), threads=2, batch_size=1)
    assert detector.architecture == original.detector.architecture
    original.agree("detections", agreement(detector, original))


def test_detections_of_the_onnx_export(original: Original, model_file: Path) -> None:
    """TensorRT limits the number of candidates, so the export can't have all pairs over the threshold."""
    model = read_model_file(model_file)
    spec = spec_of(SIZE, classes_of(original), testCandidateLimit=LARGEST_TOPK)
    graph = export_graph(network_of(model), spec, class_map_of(model))
    path = original.folder / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    detector = open_detector(path, spec, threads=2, batch_size=1)
    original.agree("detections of the ONNX export", agreement(detector, original))


def test_faster_rcnn_has_the_same_values_without_masks(original: Original) -> None:
    if original.style != "torchvision":
        pytest.skip("a Faster R-CNN is written for one style")
    faster = opened(original.folder / "faster_rcnn.pth", original.style)
    assert not faster.has_masks
    assert faster.architecture == original.detector.architecture
    of_masks = {name for name in original.detector.values if name.startswith(("mask", "conv5-mask"))}
    assert set(faster.values) == set(original.detector.values) - of_masks
    for name, value in faster.values.items():
        np.testing.assert_array_equal(value, original.detector.values[name])


def test_config_in_the_file_names_the_style(original: Original) -> None:
    if not original.style.startswith("mmdet-"):
        pytest.skip("files of MMDetection alone hold their config")
    by_config = opened(original.weights, None)
    assert by_config.style == original.detector.style
    assert by_config.class_names is not None
    assert by_config.class_names[1:3] == ("person", "bicycle")


def classes_of(original: Original) -> int:
    return original.detector.architecture.num_classes


def agreement(detector: Detector, original: Original) -> Agreement:
    return agreement_of(detections(detector, original), original.found())


def detections(detector: Detector, original: Original) -> list[Found]:
    """Return the detections of all images, with masks pasted as the original does."""
    found = []
    for image in original.pixels:
        (one,) = detector.detect(normalized(image[None]))
        pasted = paste_masks(one.mask_logits, one.boxes, *SIZE, detector.architecture.mask_pasting)
        masks = np.array([mask.whole(*SIZE) for mask in pasted], bool).reshape(-1, *SIZE)
        found.append(Found(one.boxes[:, [1, 0, 3, 2]], one.classes, one.scores, masks))
    return found
