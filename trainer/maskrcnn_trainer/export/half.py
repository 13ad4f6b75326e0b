"""Conversion to half precision: the network's layers compute in float16, box arithmetic and pooling in float32.

Half precision has 11 significant bits, so coordinates above 1024 pixels would be rounded to whole pixels. Everything
between the layers (decoding, suppression, RoiAlign, the results) therefore stays in float32.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.description import set_data_type
from maskrcnn_trainer.export.emitter import WEIGHTED_OPERATORS, data_inputs, is_layer_node

LARGEST_HALF = float(np.finfo(np.float16).max)


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of ``model`` whose layers compute in float16; inputs and outputs stay float32.

    Raises:
        InvalidInput: a weight is too large for float16.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    layers = [node for node in graph.node if is_layer_node(node)]
    halves = {output for node in layers for output in node.output}
    _halve_weights(graph, {name for node in layers if node.op_type in WEIGHTED_OPERATORS for name in node.input[1:]})

    nodes: list[onnx.NodeProto] = []
    cast: set[str] = set()

    def casted(tensor: str, suffix: str, to: int) -> str:
        name = f"{tensor}/{suffix}"
        if name not in cast:
            cast.add(name)
            nodes.append(helper.make_node("Cast", [tensor], [name], name=f"{name}_cast", to=to))
        return name

    for node in graph.node:
        if is_layer_node(node):
            for index in data_inputs(node):
                if node.input[index] not in halves:
                    node.input[index] = casted(node.input[index], "half", TensorProto.FLOAT16)
        else:
            for index, tensor in enumerate(node.input):
                if tensor in halves:
                    node.input[index] = casted(tensor, "float", TensorProto.FLOAT)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    set_data_type(result, "fp16")
    return result


def _halve_weights(graph: onnx.GraphProto, names: set[str]) -> None:
    for tensor in graph.initializer:
        if tensor.name not in names:
            continue
        values = numpy_helper.to_array(tensor)
        largest = float(np.max(np.abs(values), initial=0.0))
        if not largest <= LARGEST_HALF:
            raise InvalidInput(
                f"--data_type fp16: {tensor.name} has a value of {largest:g}, larger than float16's maximum of "
                f"{LARGEST_HALF:g}; export as fp32"
            )
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
