"""The calls of a Keras functional model, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Call:
    """One call of a layer; a shared layer is called several times.

    Attributes:
        layer: the layer.
        inputs, outputs: symbolic tensors; whoever made one of ``inputs`` came earlier.
    """

    layer: keras.layers.Layer
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def calls(model: keras.Model) -> Iterator[Call]:
    """Every call of ``model`` from its inputs to its outputs, the input layers left out.

    Keras has no public way to see them; ``Function`` keeps its nodes by their distance from the outputs.
    """
    nodes = model._nodes_by_depth
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if not node.is_input:
                yield Call(node.operation, tuple(node.input_tensors), tuple(node.output_tensors))
