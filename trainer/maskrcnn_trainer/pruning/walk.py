"""Calls of a Keras functional model, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Call:
    """Call of a layer; a shared layer has several.

    Attributes:
        layer: the layer.
        inputs: symbolic tensors, each an input of the model or an output of an earlier call.
        outputs: symbolic tensors.
    """

    layer: keras.layers.Layer
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def calls(model: keras.Model) -> Iterator[Call]:
    """Yield the calls of ``model`` from its inputs to its outputs, without the input layers.

    Keras has no public access to them; its class ``Function`` stores nodes by their distance from the outputs.
    """
    nodes = model._nodes_by_depth
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if not node.is_input:
                yield Call(node.operation, tuple(node.input_tensors), tuple(node.output_tensors))
