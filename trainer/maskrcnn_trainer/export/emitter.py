"""A small builder of ONNX graphs with nodes in topological order, shared constants, and unique, readable names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from maskrcnn_trainer.detector.metadata import EXPORTED_OPSET

IR_VERSION = 8
"""The IR version of ONNX 1.12, which introduced opset 17."""

SCOPE_SEPARATOR = "/"


class GraphBuilder:
    """Builder that collects the nodes and constants of a graph in topological order.

    Tensors and nodes are identified by name. A node without an explicit name gets one from the current scope and its
    operator, such as ``proposals/TopK_2``; its output has the same name.
    """

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._taken: set[str] = set()
        self._scope = ""

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Add the prefix ``name/`` to the names generated inside."""
        outer = self._scope
        self._scope = f"{outer}{name}{SCOPE_SEPARATOR}"
        try:
            yield
        finally:
            self._scope = outer

    def op(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; return the output's name.

        Args:
            operator: operator of the standard ONNX domain.
            inputs: names of tensors; "" for an omitted optional input.
            name: name of node and output; must not be in use.
            attributes: attributes of the node.
        """
        return self.ops(operator, *inputs, outputs=1, name=name, **attributes)[0]

    def ops(
        self, operator: str, *inputs: str, outputs: int, name: str | None = None, **attributes: Any
    ) -> tuple[str, ...]:
        """Add a node with several outputs; return their names."""
        own = self._claim(name) if name is not None else self._fresh(operator)
        names = [own] if outputs == 1 else [self._claim(f"{own}_{index}") for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=own, **attributes))
        return tuple(names)

    def constant(self, value: NDArray[Any], name: str | None = None) -> str:
        """Add a constant tensor; reuse one of equal type, shape, and values unless ``name`` is given."""
        value = np.ascontiguousarray(value).reshape(np.shape(value))
        if name is not None:
            self._constants[self._claim(name)] = numpy_helper.from_array(value, name)
            return name
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._by_content:
            own = self._fresh("constant")
            self._constants[own] = numpy_helper.from_array(value, own)
            self._by_content[key] = own
        return self._by_content[key]

    def integers(self, *values: int) -> str:
        """Add a constant int64 vector."""
        return self.constant(np.asarray(values, np.int64))

    def number(self, value: float) -> str:
        """Add a constant float32 scalar."""
        return self.constant(np.asarray(value, np.float32))

    def reshape(self, tensor: str, *shape: int, name: str | None = None) -> str:
        """Reshape a tensor; in ``shape``, 0 keeps a dimension and -1 is inferred."""
        return self.op("Reshape", tensor, self.integers(*shape), name=name)

    def halves(self, boxes: str) -> tuple[str, str]:
        """Split the last axis of [.., 4] into its first two and its last two numbers."""
        first, last = self.ops("Split", boxes, self.integers(2, 2), outputs=2, axis=-1)
        return first, last

    def model(
        self,
        graph_name: str,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, Sequence[int | str]],
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """Return the graph as a model.

        Args:
            graph_name: name of the graph.
            inputs: shapes of the float32 inputs by name; a text is a dimension of any size.
            outputs: shapes of the float32 outputs by name, likewise.
            metadata: texts by key, stored in the model's ``metadata_props``.
        """
        graph = helper.make_graph(
            self._nodes,
            graph_name,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
            initializer=list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", EXPORTED_OPSET)],
            producer_name="maskrcnn",
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, dict(metadata))
        return model

    def _claim(self, name: str) -> str:
        if name in self._taken:
            raise ValueError(f"the name {name} is used twice in the graph")
        self._taken.add(name)
        return name

    def _fresh(self, stem: str) -> str:
        name = f"{self._scope}{stem}"
        number = 0
        while name in self._taken:
            number += 1
            name = f"{self._scope}{stem}_{number}"
        return self._claim(name)


GLUE_SCOPES = ("preprocessing", "reordered", "proposals", "canvas", "box_rois", "mask_rois", "detections", "masks")
"""Scopes of the nodes between the network's parts: box arithmetic, pooling, and the format of the results."""

LAYER_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "Relu", "Add", "MaxPool", "Resize", "Flatten")
WEIGHTED_OPERATORS = ("Conv", "ConvTranspose", "Gemm")


def is_layer_node(node: onnx.NodeProto) -> bool:
    """Return whether a node computes a layer of the network; false for nodes of GLUE_SCOPES."""
    return node.op_type in LAYER_OPERATORS and node.name.partition(SCOPE_SEPARATOR)[0] not in GLUE_SCOPES


def data_inputs(node: onnx.NodeProto) -> list[int]:
    """Return the indices of the inputs of a layer's node that are activations; the others are weights or sizes."""
    return [0, 1] if node.op_type == "Add" else [0]


def layer_of(node: onnx.NodeProto) -> str:
    """Return the layer whose weights a node uses; "" for a node without weights."""
    return node.input[1].partition(SCOPE_SEPARATOR)[0] if node.op_type in WEIGHTED_OPERATORS else ""
