"""Floating-point operations compared with numbers computed by hand, and the table of layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.convolution import Convolution
from maskrcnn_trainer.model.layer_rules import UnknownLayerError
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.pruning.flops import model_flops, network_flops
from maskrcnn_trainer.pruning.groups import Connectivity, Group
from maskrcnn_trainer.pruning.table import Cost, cost_lines, pruning_table

pytestmark = pytest.mark.trainer


def test_a_small_model_by_hand() -> None:
    image = keras.Input((None, None, 3))
    x = Convolution(5, 3, strides=2)(image)
    x = keras.layers.Add()([x, Convolution(5, 1, strides=2)(image)])
    x = keras.layers.Conv2DTranspose(4, 2, strides=2)(x)
    model = keras.Model(image, x)
    # 7 x 9 becomes 4 x 5, then 8 x 10.
    by_hand = 2 * (4 * 5 * 9 * 3 * 5 + 4 * 5 * 3 * 5 + 4 * 5 * 5 * 4 * 4)
    assert model_flops(model, (1, 7, 9, 3)) == by_hand
    flat = keras.Input((6,))
    assert model_flops(keras.Model(flat, keras.layers.Dense(4)(flat)), (1, 6)) == 2 * 6 * 4


def test_layer_whose_operations_are_unknown_is_refused_by_name() -> None:
    image = keras.Input((8, 8, 4))
    model = keras.Model(image, keras.layers.DepthwiseConv2D(3, name="strange")(image))
    with pytest.raises(
        UnknownLayerError, match="^strange: no rule for counting operations of a layer of type Depthwise"
    ):
        model_flops(model, (1, 8, 8, 4))


def test_heads_count_once_for_each_region() -> None:
    network = MaskRCNN(Architecture(nlayers=10, num_classes=3, fast_rcnn_mlp_head_dim=8, filters={"fc6": 6}))
    features = network_flops(network, (128, 128), proposals=0, detections=0)
    box = 2 * (12544 * 6 + 6 * 8 + 8 * 3 + 8 * 12)
    mask = 2 * (4 * 14 * 14 * 9 * 256 * 256 + 14 * 14 * 4 * 256 * 256 + 28 * 28 * 256 * 3)
    assert network_flops(network, (128, 128), proposals=10, detections=0) == features + 10 * box
    assert network_flops(network, (128, 128), proposals=0, detections=2) == features + 2 * mask
    # Four times the pixels; all sides are powers of two, so nothing is rounded.
    assert network_flops(network, (256, 256), proposals=0, detections=0) == 4 * features


def test_table_lists_layers_in_order_and_marks_those_kept_whole() -> None:
    groups = (Group(("conv1",), 64), Group(("rpn-class",), 3, whole="output"), Group(("fc6",), 1024))
    connected = Connectivity(groups, {"conv1": 0, "rpn-class": 1, "fc6": 2}, {}, frozenset())
    lines = pruning_table(["conv1", "bn_conv1", "rpn-class", "fc6"], connected, {0: np.arange(24), 2: np.arange(1024)})
    assert lines == [
        "layer      filters  kept",
        "conv1           64    24",
        "rpn-class        3     3 (kept whole)",
        "fc6           1024  1024",
    ]


def test_costs_before_and_after() -> None:
    assert cost_lines(Cost(44_507_633, 2_500_000_000), Cost(11_126_908, 620_000_000)) == [
        "                     before       after",
        "parameters       44,507,633  11,126,908",
        "GFLOPs an image        2.50        0.62",
        "Pruning ratio (pruned model / original model): 0.250000",
    ]
