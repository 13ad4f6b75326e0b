"""Half precision and INT8: the types of the layers, and the difference of the results from float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from onnx import TensorProto, numpy_helper

from maskrcnn_trainer.detector import open_detector
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.calibration.cache import cache_text
from maskrcnn_trainer.export.calibration.collect import collect_ranges
from maskrcnn_trainer.export.description import metadata_of
from maskrcnn_trainer.export.graph import check_graph, export_graph
from maskrcnn_trainer.export.half import half_precision
from maskrcnn_trainer.export.quantize import calibrated_tensors, quantized, quantized_weights

pytestmark = pytest.mark.trainer

SIZE = (128, 128)
BEFORE_PROPOSALS = ("rpn-class_p2", "rpn-box_p3", "post_hoc_d4")
LAYER_OPERATORS = ("Conv", "ConvTranspose", "Gemm")


def _images(count: int) -> np.ndarray:
    coarse = np.random.default_rng(9).normal(size=(count, 16, 16, 3)).astype(np.float32)
    return np.asarray(tf.image.resize(coarse, SIZE))


def _planes(count: int) -> np.ndarray:
    return np.ascontiguousarray(_images(count).transpose(0, 3, 1, 2))


@pytest.fixture(scope="module")
def exported(build: Callable[..., Any]) -> tuple[onnx.ModelProto, Any]:
    network, spec, class_map = build(SIZE, 4)
    return check_graph(export_graph(network, spec, class_map)), spec


@pytest.fixture(scope="module")
def ranges(exported: tuple[onnx.ModelProto, Any]) -> dict[str, float]:
    model, _ = exported
    return collect_ranges(model, calibrated_tensors(model), [_planes(3), _planes(1)], images=4, threads=2)


def _tensors(model: onnx.ModelProto, names: tuple[str, ...]) -> list[np.ndarray]:
    """Return dense results, because the order of near-equal detections changes with any rounding."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(one, np.float32) for one in session.run(list(names), {"Input": _planes(2)})]


def _relative_errors(model: onnx.ModelProto, changed: onnx.ModelProto) -> dict[str, float]:
    pairs = zip(BEFORE_PROPOSALS, _tensors(model, BEFORE_PROPOSALS), _tensors(changed, BEFORE_PROPOSALS), strict=True)
    return {name: float(np.sqrt(np.mean((a - b) ** 2) / np.mean(a**2))) for name, a, b in pairs}


def test_half_precision(exported: tuple[onnx.ModelProto, Any], tmp_path: Path) -> None:
    model, spec = exported
    half = check_graph(half_precision(model))
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    for node in half.graph.node:
        weights = {types[name] for name in node.input[1:] if name in types}
        if node.op_type in LAYER_OPERATORS:
            assert weights == {TensorProto.FLOAT16}, node.name
        else:
            assert TensorProto.FLOAT16 not in weights, node.name
    assert len(half.SerializeToString()) < 0.52 * len(model.SerializeToString())
    assert metadata_of(half).data_type == "fp16"
    assert metadata_of(model).data_type == "fp32"
    errors = _relative_errors(model, half)
    assert 0 < max(errors.values()) < 5e-3, errors
    (tmp_path / "half.onnx").write_bytes(half.SerializeToString())
    found = open_detector(tmp_path / "half.onnx", spec, threads=2).detect(_images(3))
    assert len(found) == 3
    assert all(one.boxes.shape == (len(one.scores), 4) for one in found)
    assert max(one.scores.max() for one in found) > 0.2


def test_a_weight_beyond_half_precision_is_refused(exported: tuple[onnx.ModelProto, Any]) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(exported[0])
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "fc6/kernel")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(1e8), "fc6/kernel"))
    with pytest.raises(InvalidInput, match="fc6/kernel has a value of"):
        half_precision(model)


def test_int8(exported: tuple[onnx.ModelProto, Any], ranges: dict[str, float], tmp_path: Path) -> None:
    model, spec = exported
    int8 = check_graph(quantized(model, ranges))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    made_by = {name: node for node in int8.graph.node for name in node.output}
    pairs = [node for node in int8.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert (constants[node.input[1]] > 0).all()
    floats = {"rpn-class", "rpn-box", "class-predict", "box-predict", "mask_fcn_logits"}
    for node in int8.graph.node:
        if node.op_type not in LAYER_OPERATORS:
            continue
        sources = [made_by[name].op_type if name in made_by else "" for name in node.input[:2]]
        layer = node.input[1].partition("/")[0]
        if layer in floats:
            assert sources[1] == "", node.name
        else:
            assert sources == ["DequantizeLinear", "DequantizeLinear"], node.name
            scales = constants[made_by[node.input[1]].input[1]]
            assert scales.size == constants[node.input[2]].size, node.name
    # The shortcut branch of a residual sum is quantized too; the sums of the pyramid aren't.
    adds = {
        node.name: [made_by[name].op_type for name in node.input]
        for node in int8.graph.node
        if node.name in ("block_2a_add", "FPN_add_2")
    }
    assert adds["block_2a_add"] == ["Conv", "DequantizeLinear"]
    assert "DequantizeLinear" not in adds["FPN_add_2"]
    assert metadata_of(int8).data_type == "int8"
    assert len(int8.SerializeToString()) < 0.3 * len(model.SerializeToString())
    errors = _relative_errors(model, int8)
    assert 0 < max(errors.values()) < 0.1, errors
    (tmp_path / "int8.onnx").write_bytes(int8.SerializeToString())
    detector = open_detector(tmp_path / "int8.onnx", spec, threads=2)
    for count in (1, 3):
        assert max(one.scores.max() for one in detector.detect(_images(count))) > 0.2


def test_the_cache_names_tensors_of_the_float32_graph(
    exported: tuple[onnx.ModelProto, Any], ranges: dict[str, float]
) -> None:
    model, _ = exported
    names = [line.partition(":")[0] for line in cache_text(ranges).splitlines()[1:]]
    tensors = {"Input"} | {name for node in model.graph.node for name in node.output}
    assert set(names) <= tensors
    assert {"Input", "conv1_relu", "block_1a_add", "rpn_p2", "fc6", "box_rois/RoiAlign", "conv5-mask"} <= set(names)
    assert not {"class-predict", "mask_fcn_logits", "rpn-class_p2"} & set(names)


def test_ranges_do_not_depend_on_the_batches(
    exported: tuple[onnx.ModelProto, Any], ranges: dict[str, float], build: Callable[..., Any]
) -> None:
    model, _ = exported
    images = np.concatenate([_planes(3), _planes(1)])
    again = collect_ranges(model, calibrated_tensors(model), (image[None] for image in images), images=4, threads=1)
    assert again.keys() == ranges.keys()
    np.testing.assert_allclose(list(again.values()), list(ranges.values()), rtol=1e-4)

    network, spec, class_map = build(SIZE, 4)
    raw = export_graph(network, spec, class_map, preprocessing=True)
    found = collect_ranges(raw, calibrated_tensors(raw), [images], images=4, threads=2)
    # The first layer's input is the image that the graph has normalized, not the raw pixels.
    normalized = next(name for name in found if name.startswith("preprocessing/"))
    assert found[normalized] == pytest.approx(ranges["Input"], rel=0.02)
    assert found["conv1_relu"] == pytest.approx(ranges["conv1_relu"], rel=0.02)


def test_weights_are_rounded_to_the_largest_of_their_channel() -> None:
    values = np.array([[0.5, -1.27, 0.0], [0.25, 0.01, 0.0]], np.float32)
    whole, scales = quantized_weights(values, axis=1)
    np.testing.assert_allclose(scales, [0.5 / 127, 0.01, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(whole, [[127, -127, 0], [64, 1, 0]])


def test_channel_without_variance_is_quantized_with_epsilon_zero(
    build: Callable[..., Any], ranges: dict[str, float]
) -> None:
    network, spec, class_map = build(SIZE, 4, settings={"batch_norm_epsilon": 0.0})
    variance = network.named_variables["bn_conv1/moving_variance"]
    variance.assign(tf.concat([tf.zeros(8), variance[8:]], axis=0))
    model = check_graph(export_graph(network, spec, class_map))
    int8 = quantized(model, ranges)
    for changed in (model, int8, half_precision(model)):
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in changed.graph.initializer}
        assert all(np.isfinite(value.astype(np.float64)).all() for value in constants.values())
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    np.testing.assert_array_equal(constants["conv1/kernel/int8"][:8], 0)
    np.testing.assert_array_equal(constants["conv1/kernel/scale"][:8], 1.0)
