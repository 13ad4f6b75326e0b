"""Parity of the exported graph with the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from tests.backbones import SMALLEST

from maskrcnn_trainer.detector import Detections, open_detector
from maskrcnn_trainer.detector.interface import detections_of_batch
from maskrcnn_trainer.detector.outputs import DETECTIONS, INPUT
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.graph import check_graph, check_topk, export_graph
from maskrcnn_trainer.model.architecture import LARGEST_TOPK
from maskrcnn_trainer.model.backbones.registry import BACKBONES
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.predict import InferenceSettings, PaddedDetections, predict
from maskrcnn_trainer.spec import ExperimentSpec

pytestmark = pytest.mark.trainer

CASES: dict[str, tuple[tuple[int, int], int, dict[str, Any]]] = {
    **{arch: ((128, 128), 4, {"arch": arch, "nlayers": depth}) for arch, depth in SMALLEST},
    "resnet18-v1.5-wide": ((128, 192), 2, {"nlayers": 18, "arch": "resnet_v1_5", "rpnMinSize": 3.0}),
    "resnet10-v1.5-tall-many-classes": ((192, 128), 91, {"arch": "resnet_v1_5", "maxLevel": 5, "testNms": 0.3}),
    "resnet18-few-candidates": (
        (128, 128),
        3,
        {"nlayers": 18, "testRpnPreNmsTopn": 4, "testRpnPostNmsTopn": 30, "testDetectionsPerImage": 70},
    ),
    "bottleneck": ((128, 128), 3, {"nlayers": 50, "numScales": 2, "bboxRegWeights": [1.0, 2.0, 3.0, 4.0]}),
}


def few_filters(arch: str, depth: int) -> dict[str, int]:
    """Return filters with which a backbone of many layers is exported in a second."""
    layers = [layer for block in BACKBONES[arch].blocks(depth).values() for layer in block]
    return {layer: 16 for layer in layers if "conv" in layer and not layer.startswith("bn")}


ROOT = 2**0.5
WIDE_FIRST = [[ROOT, 1 / ROOT], [1.0, 1.0], [1 / ROOT, ROOT]]
SAME_IN_ALL: dict[str, Any] = {
    "anchor_offset": 0.0,
    "roi_max_level": 5,
    "score_threshold": 0.05,
    "candidate_limit": None,
}
PROJECTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "torchvision": (
        {"arch": "resnet_v1_5"},
        {
            "anchor_rounding": "corners",
            "roi_aligned": False,
            "batch_norm_epsilon": 0.0,
            "least_proposal_side": 1e-3,
            "least_detection_side": 1e-2,
            "mask_pasting": "whole_pixels",
        },
    ),
    "mmdetection": (
        {"nlayers": 50, "arch": "resnet_v1"},
        {
            "roi_sampling_ratio": 0,
            "clip_small_deltas": True,
            "rank_by_sigmoid": True,
            "filters": few_filters("resnet_v1", 50),
        },
    ),
}
"""Fields of the spec, and settings of the architecture, with which a network computes as the project's does.

Detectron2 has some of MMDetection's.
"""


def _reference(network: MaskRCNN, spec: ExperimentSpec, images: np.ndarray) -> PaddedDetections:
    return predict(network, tf.constant(images), InferenceSettings.from_spec(spec, network.architecture))


def _images(size: tuple[int, int], count: int) -> np.ndarray:
    coarse = np.random.default_rng(count).normal(size=(count, size[0] // 8, size[1] // 8, 3)).astype(np.float32)
    return np.asarray(tf.image.resize(coarse, size))


def _assert_equal(found: list[Detections], padded: PaddedDetections) -> None:
    for ours, expected in zip(found, detections_of_batch(*(part.numpy() for part in padded)), strict=True):
        np.testing.assert_allclose(ours.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_array_equal(ours.classes, expected.classes)
        np.testing.assert_allclose(ours.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(ours.mask_logits, expected.mask_logits, atol=1e-4)


def _assert_equal_rows(path: Path, images: np.ndarray, padded: PaddedDetections) -> None:
    """Compare detections including the padding rows, which other runtimes read."""
    (rows,) = onnxruntime.InferenceSession(path).run([DETECTIONS], {INPUT: images.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(rows[..., :4], padded.boxes, atol=1e-3)
    np.testing.assert_array_equal(rows[..., 4], padded.classes)
    np.testing.assert_allclose(rows[..., 5], padded.scores, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_parity_with_the_network(case: str, build: Callable[..., Any], tmp_path: Path) -> None:
    size, num_classes, model = CASES[case]
    network, spec, class_map = build(size, num_classes, **model)
    graph = check_graph(export_graph(network, spec, class_map, step=7))
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    detector = open_detector(tmp_path / "m.onnx", spec, threads=2)
    assert detector.step == 7
    assert detector.class_map == class_map
    assert detector.architecture == network.architecture
    for count in (1, 3):
        images = _images(size, count)
        wanted = _reference(network, spec, images)
        assert float(tf.reduce_max(wanted.scores)) > 0
        assert np.unique(np.round(wanted.boxes.numpy()[0], 1), axis=0).shape[0] > 5
        _assert_equal(detector.detect(images), wanted)
        _assert_equal_rows(tmp_path / "m.onnx", images, wanted)


@pytest.mark.parametrize("project", PROJECTS)
def test_parity_with_the_settings_of_other_projects(project: str, build: Callable[..., Any], tmp_path: Path) -> None:
    """All pairs above a score of 0.05 are candidates."""
    model, settings = PROJECTS[project]
    network, spec, class_map = build((128, 128), 6, settings=SAME_IN_ALL | settings, aspectRatios=WIDE_FIRST, **model)
    if network.architecture.rank_by_sigmoid:
        bias = network.named_variables["rpn-class/bias"]
        bias.assign(bias + 13.0)  # so that scores saturate
    if network.architecture.epsilon == 0:
        variance = network.named_variables["bn_conv1/moving_variance"]
        variance.assign(tf.concat([tf.zeros(8), variance[8:]], axis=0))
    graph = check_graph(export_graph(network, spec, class_map))
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    detector = open_detector(tmp_path / "m.onnx", spec, threads=2)
    assert detector.architecture == network.architecture
    for count in (1, 3):
        images = _images((128, 128), count)
        expected = _reference(network, spec, images)
        found = detector.detect(images)
        _assert_equal(found, expected)
        assert all(len(one.scores) > 5 and one.scores.min() > 0.05 for one in found)


def test_sheet_holds_only_the_levels_that_rois_are_pooled_from(build: Callable[..., Any]) -> None:
    """At 128 pixels level 2 is 32 x 32 and those above are at most 16 wide, all with a border of one pixel."""
    network, spec, class_map = build((128, 128), 3, settings={"roi_max_level": 5})
    graph = onnx.shape_inference.infer_shapes(export_graph(network, spec, class_map)).graph
    sheet = next(node.input[0] for node in graph.node if node.op_type == "RoiAlign")
    shape = next(one.type.tensor_type.shape for one in graph.value_info if one.name == sheet)
    assert [dim.dim_value for dim in shape.dim][2:] == [34 + 18, 18 + 10 + 6]


def test_a_pruned_network(build: Callable[..., Any], tmp_path: Path) -> None:
    filters = {"conv1": 24, "block_1a_conv_1": 16, "block_2a_conv_1": 40, "rpn": 48, "fc6": 24, "fc7": 16,
               "mask-conv-l0": 32, "mask-conv-l3": 64, "conv5-mask": 40}  # fmt: skip
    network, spec, class_map = build((128, 128), 3, filters=filters)
    (tmp_path / "m.onnx").write_bytes(check_graph(export_graph(network, spec, class_map)).SerializeToString())
    images = _images((128, 128), 2)
    detector = open_detector(tmp_path / "m.onnx", spec, threads=2)
    _assert_equal(detector.detect(images), _reference(network, spec, images))


def test_normalization_in_the_graph(build: Callable[..., Any], tmp_path: Path) -> None:
    network, spec, class_map = build((128, 128), 3)
    graph = check_graph(export_graph(network, spec, class_map, preprocessing=True))
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    images = _images((128, 128), 2)
    detector = open_detector(tmp_path / "m.onnx", spec, threads=2)
    # The detector undoes the normalization, so the graph gets raw pixels.
    _assert_equal(detector.detect(images), _reference(network, spec, images))


def test_what_the_file_promises(build: Callable[..., Any]) -> None:
    network, spec, class_map = build((128, 192), 4)
    graph = export_graph(network, spec, class_map)
    assert {node.domain for node in graph.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 17)]
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "Input": ["N", 3, 128, 192],
        "generate_detections": ["N", 20, 6],
        "mask_fcn_logits/BiasAdd": ["N", 20, 4, 16, 16],
    }
    names = [node.name for node in graph.graph.node]
    assert len(set(names)) == len(names)
    assert not [name for node in graph.graph.node for name in node.output if ":" in name or ";" in name]
    # Batch norms are folded; every layer's result has the layer's name.
    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & {"BatchNormalization", "If", "Loop", "NonZero", "Identity"}
    tensors = {name for node in graph.graph.node for name in node.output}
    assert {"conv1", "conv1_relu", "block_4a_relu", "post_hoc_d2", "rpn_p6", "fc6", "conv5-mask"} <= tensors
    sizes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    counts = [int(sizes[node.input[1]][0]) for node in graph.graph.node if node.op_type == "TopK"]
    assert counts
    assert max(counts) <= LARGEST_TOPK


def test_candidate_limit_beyond_what_tensorrt_sorts_is_refused_by_name() -> None:
    settings = InferenceSettings(post_nms_topn=1000, candidate_limit=4000)
    levels = dict.fromkeys(range(2, 7), 3000)
    with pytest.raises(InvalidInput, match=r"testCandidateLimit: .* a TopK of 4000; .* at most 3839"):
        check_topk(settings, levels, num_classes=81)
    check_topk(settings, levels, num_classes=4)  # 3,000 pairs
    check_topk(replace(settings, candidate_limit=3839), levels, num_classes=81)


def test_more_candidates_than_tensorrt_sorts(build: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    network, spec, class_map = build((256, 256), 3, testRpnPreNmsTopn=4000)
    with pytest.raises(InvalidInput, match=r"testRpnPreNmsTopn: .* a TopK of 4000; .* at most 3839"):
        export_graph(network, spec, class_map)
    # The number of anchors of a level limits the TopK: at 128 it is at most 32 * 32 * 3 = 3072.
    network, spec, class_map = build((128, 128), 3, testRpnPreNmsTopn=10000, testRpnPostNmsTopn=2000)
    with caplog.at_level(logging.WARNING):
        export_graph(network, spec, class_map)
    assert "testRpnPostNmsTopn: the graph needs a TopK of 2000" in caplog.text
