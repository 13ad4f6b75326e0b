"""Layers that can't be exported are refused by name, and never emitted as something else."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest
import tensorflow as tf

from maskrcnn_trainer.export.dense import Emitted, LayerEmitter
from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.model.batch_norm import BatchNorm
from maskrcnn_trainer.model.convolution import Convolution
from maskrcnn_trainer.model.layer_rules import UnknownLayerError

pytestmark = pytest.mark.trainer


class Shuffled(Convolution):
    """Convolution with its own treatment of channels."""


def norm(name: str) -> BatchNorm:
    return BatchNorm(epsilon=1e-3, frozen=True, updates=tf.Variable(0, dtype=tf.int64), name=name)


def emit(*layers: keras.layers.Layer) -> Emitted:
    image = x = keras.Input((8, 8, 4), batch_size=1)
    for layer in layers:
        x = layer(x)
    return LayerEmitter(GraphBuilder(), {image: Emitted("image", (4, 8, 8))}).emit(x)


@pytest.mark.parametrize(
    ("strange", "kind"),
    [
        (lambda: keras.layers.DepthwiseConv2D(3, padding="same", name="strange"), "DepthwiseConv2D"),
        (lambda: keras.layers.Conv2D(6, 3, padding="same", groups=2, name="strange"), "Conv2D"),
        (lambda: Shuffled(6, 3, name="strange"), "Shuffled"),
    ],
)
@pytest.mark.parametrize("normed", [False, True])
def test_layer_whose_type_has_no_rule_is_refused_by_name(
    strange: Callable[[], keras.layers.Layer], kind: str, normed: bool
) -> None:
    with pytest.raises(UnknownLayerError, match=f"^strange: no rule for export of a layer of type {kind}; "):
        emit(strange(), *([norm("norm")] if normed else []))


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param([keras.layers.ReLU(6.0, name="strange")], id="ReLU6"),
        pytest.param([keras.layers.ReLU(negative_slope=0.1, name="strange")], id="leaky ReLU"),
        pytest.param([keras.layers.ZeroPadding2D(1), Convolution(2, 3, name="strange")], id="padded convolution"),
        pytest.param([keras.layers.ZeroPadding2D(1), keras.layers.ReLU(name="strange")], id="padded ReLU"),
        pytest.param([keras.layers.ReLU(), norm("strange")], id="batch norm behind a ReLU"),
    ],
)
def test_use_without_an_onnx_counterpart_is_refused_by_name(layers: list[keras.layers.Layer]) -> None:
    with pytest.raises(NotImplementedError, match="^strange: "):
        emit(*layers)


def test_known_layers_are_emitted() -> None:
    found = emit(Convolution(2, 3), norm("norm"), keras.layers.ZeroPadding2D(1), keras.layers.MaxPooling2D(3, 2))
    assert found.shape == (2, 4, 4)
