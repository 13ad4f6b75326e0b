"""Conversion of the network's layers from its Keras graph to ONNX nodes.

Channels come first (NCHW), and every batch norm is folded into the convolution before it: with stored statistics,
bn(conv(x, k)) = conv(x, k * scale) + shift, scale = gamma / sqrt(variance + epsilon), shift = beta - mean * scale
(Jacob et al. 2018, arXiv:1712.05877, section 3.2). A tensor has the name of the layer that produces it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.model.batch_norm import SMALLEST_VARIANCE, BatchNorm
from maskrcnn_trainer.model.convolution import Convolution
from maskrcnn_trainer.model.layer_rules import LayerRules

RELU = "Relu"
LINEAR = "linear"

Tensors = Sequence[keras.KerasTensor]


@dataclass(frozen=True)
class Emitted:
    """A tensor in the graph.

    Attributes:
        name: name in the graph.
        shape: shape without the batch: (C, H, W), or the result of a reshape.
        border: pixels of zeros that the next pooling layer adds on every side.
    """

    name: str
    shape: tuple[int, ...]
    border: int = 0


_RULES: LayerRules[Callable[[LayerEmitter, Tensors, Any, str], Emitted]] = LayerRules("export", __name__)
"""Functions that emit a call of a layer, from its inputs in the Keras graph, the layer, and the result's name."""
rule_for = _RULES.rule_for


class LayerEmitter:
    """Emitter of the nodes that tensors of a functional model depend on; each layer call is emitted once.

    Args:
        graph: receives the nodes.
        inputs: tensors of the Keras graph that are in ``graph`` already.
        call_name: returns the name for one call of a layer that is called several times, from the layer's name and the
            number of the call. The result of a layer that is called once has the layer's name.

    Raises:
        UnknownLayerError: there is no rule for a layer's type; the message names the layer.
        NotImplementedError: a layer of a known type is used in a way that isn't supported here.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        inputs: Mapping[keras.KerasTensor, Emitted],
        call_name: Callable[[str, int], str] = lambda layer, call: f"{layer}_{call}",
    ) -> None:
        self._graph = graph
        self._done: dict[int, Emitted] = {id(tensor): emitted for tensor, emitted in inputs.items()}
        self._call_name = call_name
        self._kernels: dict[str, str] = {}

    def emit(self, tensor: keras.KerasTensor) -> Emitted:
        """Return the tensor in the graph, after emitting everything that it depends on."""
        if id(tensor) not in self._done:
            self._done[id(tensor)] = self._emit_call(tensor)
        return self._done[id(tensor)]

    def _emit_call(self, tensor: keras.KerasTensor) -> Emitted:
        layer, call = _source(tensor)
        name = layer.name if len(layer._inbound_nodes) == 1 else self._call_name(layer.name, call)
        return _RULES.of(layer)(self, layer._inbound_nodes[call].input_tensors, layer, name)

    def _input(self, tensor: keras.KerasTensor, name: str) -> Emitted:
        """Return the tensor in the graph, for a layer that cannot add a border to it."""
        x = self.emit(tensor)
        if x.border:
            raise NotImplementedError(f"{name}: padding before a layer other than pooling can't be exported")
        return x

    @rule_for(BatchNorm)
    def _batch_norm(self, tensors: Tensors, layer: BatchNorm, _name: str) -> Emitted:
        convolution, call = _source(tensors[0])
        if _RULES.of(convolution) is not LayerEmitter._convolution:
            raise NotImplementedError(f"{layer.name}: a batch norm that isn't after a convolution can't be exported")
        return self._folded(convolution._inbound_nodes[call].input_tensors, convolution, convolution.name, layer)

    @rule_for(keras.layers.Add)
    def _add(self, tensors: Tensors, _layer: keras.layers.Add, name: str) -> Emitted:
        terms = [self._input(tensor, name) for tensor in tensors]
        return Emitted(self._graph.op("Add", *(term.name for term in terms), name=name), terms[0].shape)

    @rule_for(Convolution)
    def _convolution(self, tensors: Tensors, layer: Convolution, name: str) -> Emitted:
        return self._folded(tensors, layer, name, None)

    def _folded(self, tensors: Tensors, layer: Convolution, name: str, norm: BatchNorm | None) -> Emitted:
        x = self._input(tensors[0], name)
        weights = _weights(layer)
        kernel: NDArray[np.float64] = weights["kernel"].astype(np.float64)
        bias: NDArray[Any] | None = weights.get("bias")
        if norm is not None:
            scale, shift = _scale_and_shift(norm)
            kernel = kernel * scale
            bias = shift if bias is None else bias * scale + shift
        inputs = [x.name, self._constant(f"{layer.name}/kernel", kernel.transpose(3, 2, 0, 1))]
        if bias is not None:
            inputs.append(self._constant(f"{layer.name}/bias", bias))
        pads, sides = _padding(x.shape[1:], layer.kernel_size, layer.strides, layer.explicit_padding)
        shape = (kernel.shape[3], *sides)
        return self._activated(
            "Conv", inputs, layer, name, shape,
            kernel_shape=list(layer.kernel_size), strides=list(layer.strides), pads=pads,
        )  # fmt: skip

    @rule_for(keras.layers.Conv2DTranspose)
    def _transposed(self, tensors: Tensors, layer: keras.layers.Conv2DTranspose, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        if layer.padding != "valid" or tuple(layer.strides) != tuple(layer.kernel_size):
            raise NotImplementedError(f"{name}: a transposed convolution with overlapping windows can't be exported")
        weights = _weights(layer)
        kernel = weights["kernel"].transpose(3, 2, 0, 1)  # [h, w, out, in] -> [in, out, h, w]
        inputs = [x.name, self._constant(f"{name}/kernel", kernel), self._constant(f"{name}/bias", weights["bias"])]
        sides = tuple(side * stride for side, stride in zip(x.shape[1:], layer.strides, strict=True))
        return self._activated(
            "ConvTranspose", inputs, layer, name, (kernel.shape[1], *sides),
            kernel_shape=list(layer.kernel_size), strides=list(layer.strides),
        )  # fmt: skip

    @rule_for(keras.layers.Dense)
    def _dense(self, tensors: Tensors, layer: keras.layers.Dense, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        weights = _weights(layer)
        inputs = [x.name, *(self._constant(f"{name}/{one}", weights[one]) for one in ("kernel", "bias"))]
        return self._activated("Gemm", inputs, layer, name, (layer.units,))

    def _activated(
        self, operator: str, inputs: list[str], layer: Any, name: str, shape: tuple[int, ...], **attributes: Any
    ) -> Emitted:
        activation = _activation(layer)
        if activation == LINEAR:
            return Emitted(self._graph.op(operator, *inputs, name=name, **attributes), shape)
        if activation != "relu":
            raise NotImplementedError(f"{name}: the activation {activation} can't be exported")
        plain = self._graph.op(operator, *inputs, name=f"{name}/BiasAdd", **attributes)
        return Emitted(self._graph.op(RELU, plain, name=name), shape)

    @rule_for(keras.layers.MaxPooling2D)
    def _pooling(self, tensors: Tensors, layer: keras.layers.MaxPooling2D, name: str) -> Emitted:
        x = self.emit(tensors[0])
        if x.border and layer.padding != "valid":
            raise NotImplementedError(f"{name}: pooling with padding after a padding layer can't be exported")
        explicit = None if layer.padding == "same" else x.border
        pads, sides = _padding(x.shape[1:], layer.pool_size, layer.strides, explicit)
        pooled = self._graph.op(
            "MaxPool", x.name, name=name, kernel_shape=list(layer.pool_size), strides=list(layer.strides), pads=pads
        )
        return Emitted(pooled, (x.shape[0], *sides))

    @rule_for(keras.layers.ReLU)
    def _relu(self, tensors: Tensors, layer: keras.layers.ReLU, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        if layer.max_value is not None or layer.negative_slope or layer.threshold:
            raise NotImplementedError(f"{name}: a ReLU with a maximum, a slope, or a threshold can't be exported")
        return Emitted(self._graph.op(RELU, x.name, name=name), x.shape)

    @rule_for(keras.layers.ZeroPadding2D)
    def _border(self, tensors: Tensors, layer: keras.layers.ZeroPadding2D, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        (top, bottom), (left, right) = layer.padding
        if not top == bottom == left == right:
            raise NotImplementedError(f"{name}: padding that differs between the sides can't be exported")
        return Emitted(x.name, x.shape, border=top)

    @rule_for(keras.layers.Activation)
    def _linear(self, tensors: Tensors, layer: keras.layers.Activation, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        if _activation(layer) != LINEAR:
            raise NotImplementedError(f"{name}: the activation {_activation(layer)} can't be exported")
        return x

    @rule_for(keras.layers.Permute)
    def _channels_first(self, tensors: Tensors, layer: keras.layers.Permute, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        if tuple(layer.dims) != (3, 1, 2):
            raise NotImplementedError(f"{name}: the permutation {tuple(layer.dims)} can't be exported")
        return x  # channels are already first

    @rule_for(keras.layers.Flatten)
    def _flatten(self, tensors: Tensors, _layer: keras.layers.Flatten, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        return Emitted(self._graph.op("Flatten", x.name, name=name, axis=1), (int(np.prod(x.shape)),))

    @rule_for(keras.layers.UpSampling2D)
    def _doubling(self, tensors: Tensors, layer: keras.layers.UpSampling2D, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        if layer.interpolation != "nearest":
            raise NotImplementedError(f"{name}: interpolation {layer.interpolation} can't be exported")
        rows, columns = layer.size
        scales = self._graph.constant(np.asarray([1, 1, rows, columns], np.float32))
        resized = self._graph.op(
            "Resize", x.name, "", scales,
            name=name, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
        return Emitted(resized, (x.shape[0], x.shape[1] * rows, x.shape[2] * columns))

    @rule_for(keras.layers.Reshape)
    def _reshape(self, tensors: Tensors, layer: keras.layers.Reshape, name: str) -> Emitted:
        x = self._input(tensors[0], name)
        target = tuple(layer.target_shape)
        total = int(np.prod(x.shape))
        known = int(np.prod([side for side in target if side != -1]))
        shape = tuple(total // known if side == -1 else int(side) for side in target)
        tensor = x.name
        with self._graph.scope("reordered"):
            if len(x.shape) == 3:
                # Keras reshapes in the order of channels last.
                tensor = self._graph.op("Transpose", tensor, perm=[0, 2, 3, 1])
            return Emitted(self._graph.reshape(tensor, 0, *shape), shape)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._kernels:
            self._kernels[name] = self._graph.constant(value.astype(np.float32), name)
        return self._kernels[name]


def _source(tensor: keras.KerasTensor) -> tuple[Any, int]:
    """Return the layer that a tensor of a Keras graph comes from, and the number of its call."""
    history = tensor._keras_history
    return history.operation, history.node_index


def _weights(layer: keras.layers.Layer) -> dict[str, NDArray[np.float32]]:
    return {weight.name: weight.numpy() for weight in layer.weights}


def _activation(layer: Any) -> str:
    activation = getattr(layer, "activation", None)
    return LINEAR if activation is None else str(activation.__name__)


def _scale_and_shift(norm: BatchNorm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weights = {name: value.astype(np.float64) for name, value in _weights(norm).items()}
    variance = weights["moving_variance"] + norm.epsilon
    varies = variance >= SMALLEST_VARIANCE  # see `inverse_deviation`
    scale = np.where(varies, weights["gamma"] / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
    return scale, weights["beta"] - weights["moving_mean"] * scale


def _padding(
    sides: tuple[int, ...], window: tuple[int, int], strides: tuple[int, int], explicit: int | None
) -> tuple[list[int], tuple[int, ...]]:
    """Return ONNX pads (top, left, bottom, right) and the sides of the result.

    Args:
        sides: height and width of the input.
        window: height and width of the window.
        strides: vertical and horizontal stride.
        explicit: pixels on every side; None for TensorFlow's SAME, which adds the pixels that ceil(side / stride)
            windows need, an odd one at the bottom or right.
    """
    before, after, results = [], [], []
    for side, size, stride in zip(sides, window, strides, strict=True):
        if explicit is None:
            result = -(-side // stride)
            missing = max((result - 1) * stride + size - side, 0)
            before.append(missing // 2)
            after.append(missing - missing // 2)
        else:
            result = (side + 2 * explicit - size) // stride + 1
            before.append(explicit)
            after.append(explicit)
        results.append(result)
    return before + after, tuple(results)
