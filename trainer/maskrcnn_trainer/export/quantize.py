"""Conversion to INT8 with explicit pairs of QuantizeLinear and DequantizeLinear, for TensorRT and ONNX Runtime.

Quantization is symmetric, as TensorRT requires: every zero point is 0. Activations have one scale per tensor, weights
one per output channel, biases stay float32. The prediction layers, and all operations between the layers, stay in
floating point.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from maskrcnn_trainer.export.description import set_data_type
from maskrcnn_trainer.export.emitter import (
    WEIGHTED_OPERATORS,
    data_inputs,
    is_layer_node,
    layer_of,
)

FLOAT_LAYERS = ("rpn-class", "rpn-box", "class-predict", "box-predict", "mask_fcn_logits")
"""Layers that output logits and box offsets: their error affects the result directly, and they are small."""

LEVELS = 127
"""Quantization levels on either side of zero."""

_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1}


def calibrated_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the activations that need a range, in graph order: inputs and outputs of layers, except predictions."""
    found: dict[str, None] = {}
    floats: set[str] = set()
    for node in model.graph.node:
        if not is_layer_node(node):
            continue
        for index in data_inputs(node):
            if node.input[index] not in floats:
                found[node.input[index]] = None
        if layer_of(node) in FLOAT_LAYERS:
            floats.update(node.output)
        else:
            found[node.output[0]] = None
    return list(found)


def quantized(model: onnx.ModelProto, ranges: Mapping[str, float]) -> onnx.ModelProto:
    """Return a copy of ``model`` in INT8.

    The inputs of layers with weights are quantized, and also the shortcut branch of every residual sum, so that a
    runtime can fuse convolution, sum, and ReLU.

    Args:
        model: the float32 graph.
        ranges: largest representable absolute value by tensor, for all ``calibrated_tensors``.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    editor = _Editor(graph, ranges)
    for node in list(graph.node):
        for index in _quantized_inputs(node, editor.consumers):
            node.input[index] = editor.activation(node.input[index])
        if _is_quantized(node):
            node.input[1] = editor.weight(node.input[1], _CHANNEL_AXIS[node.op_type])
        editor.nodes.append(node)
    editor.finish()
    set_data_type(result, "int8")
    return result


def _is_quantized(node: onnx.NodeProto) -> bool:
    return is_layer_node(node) and node.op_type in WEIGHTED_OPERATORS and layer_of(node) not in FLOAT_LAYERS


def _quantized_inputs(node: onnx.NodeProto, consumers: Mapping[str, list[str]]) -> list[int]:
    if _is_quantized(node):
        return [0]
    residual = is_layer_node(node) and node.op_type == "Add" and consumers.get(node.output[0]) == ["Relu"]
    return [1] if residual else []


class _Editor:
    """Editor that adds nodes and constants to a graph, once for each tensor."""

    def __init__(self, graph: onnx.GraphProto, ranges: Mapping[str, float]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.consumers: dict[str, list[str]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node.op_type)
        self._graph = graph
        self._ranges = ranges
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._quantized: dict[str, str] = {}

    def activation(self, tensor: str) -> str:
        """Return the tensor after quantization and dequantization."""
        if tensor not in self._quantized:
            scale = self._add(f"{tensor}/scale", np.asarray(self._ranges[tensor] / LEVELS, np.float32))
            zero = self._add(f"{tensor}/zero_point", np.asarray(0, np.int8))
            whole, back = f"{tensor}/quantised", f"{tensor}/dequantised"
            self.nodes.append(helper.make_node("QuantizeLinear", [tensor, scale, zero], [whole], name=f"{whole}_node"))
            self.nodes.append(helper.make_node("DequantizeLinear", [whole, scale, zero], [back], name=f"{back}_node"))
            self._quantized[tensor] = back
        return self._quantized[tensor]

    def weight(self, name: str, axis: int) -> str:
        """Return the dequantized weights, stored as int8 with a scale for each index of ``axis``."""
        if name not in self._quantized:
            values = numpy_helper.to_array(self._constants.pop(name))
            whole, scales = quantized_weights(values, axis)
            inputs = [
                self._add(f"{name}/int8", whole),
                self._add(f"{name}/scale", scales),
                self._add(f"{name}/zero_point", np.zeros(scales.shape, np.int8)),
            ]
            back = f"{name}/dequantised"
            self.nodes.append(helper.make_node("DequantizeLinear", inputs, [back], name=f"{back}_node", axis=axis))
            self._quantized[name] = back
        return self._quantized[name]

    def finish(self) -> None:
        del self._graph.node[:]
        self._graph.node.extend(self.nodes)
        constants = list(self._constants.values())
        del self._graph.initializer[:]
        self._graph.initializer.extend(constants)

    def _add(self, name: str, value: NDArray[np.generic]) -> str:
        self._constants[name] = numpy_helper.from_array(value, name)
        return name


def quantized_weights(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return weights as int8, and the scale float32 [channels] of each index of ``axis``."""
    others = tuple(number for number in range(values.ndim) if number != axis)
    largest = np.max(np.abs(values), axis=others)
    scales = np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    whole = np.clip(np.rint(values / scales.reshape(shape)), -LEVELS, LEVELS).astype(np.int8)
    return whole, scales
