"""Groups of layers, and the weights that change with them, in small networks."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.convolution import Convolution
from maskrcnn_trainer.model.layer_rules import UnknownLayerError
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.pruning.apply import positions
from maskrcnn_trainer.pruning.groups import Connectivity, Slice, connectivity

pytestmark = pytest.mark.trainer


@pytest.fixture(scope="module")
def resnet50() -> Connectivity:
    network = MaskRCNN(Architecture(nlayers=50))
    return connectivity([network.feature_extractor, network.box_head, network.mask_head])


def members(connected: Connectivity, layer: str) -> set[str]:
    return set(connected.groups[connected.group_of[layer]].members)


def test_residual_sums_and_the_pyramid_make_groups(resnet50: Connectivity) -> None:
    assert members(resnet50, "block_1a_conv_3") == {
        "block_1a_conv_shortcut",
        "block_1a_conv_3",
        "block_1b_conv_3",
        "block_1c_conv_3",
    }
    assert members(resnet50, "l3") == {"l2", "l3", "l4", "l5"}
    for alone in ("conv1", "block_2b_conv_1", "block_2b_conv_2", "rpn", "fc6", "fc7", "mask-conv-l3"):
        assert members(resnet50, alone) == {alone}
    assert sum(len(group.members) for group in resnet50.groups) == 53 + 8 + 3 + 4 + 6


def test_identity_shortcuts_of_the_first_stage_bind_the_stem() -> None:
    network = MaskRCNN(Architecture(nlayers=18, arch="resnet_v1_5"))
    connected = connectivity([network.feature_extractor])
    assert members(connected, "conv1") == {"conv1", "block_1a_conv_2", "block_1b_conv_2"}


@pytest.mark.parametrize(
    "layer",
    [
        "rpn-class",
        "rpn-box",
        "class-predict",
        "box-predict",
        "conv5-mask",
        "mask_fcn_logits",
        "post_hoc_d2",
        "post_hoc_d3",
        "post_hoc_d4",
        "post_hoc_d5",
    ],
)
def test_outputs_stay_whole(resnet50: Connectivity, layer: str) -> None:
    assert resnet50.groups[resnet50.group_of[layer]].whole is not None


def test_everything_else_may_be_pruned(resnet50: Connectivity) -> None:
    free = {name for group in resnet50.groups if group.whole is None for name in group.members}
    assert free - {name for name in free if name.startswith("block_")} == {
        "conv1",
        "l2",
        "l3",
        "l4",
        "l5",
        "rpn",
        "fc6",
        "fc7",
        "mask-conv-l0",
        "mask-conv-l1",
        "mask-conv-l2",
        "mask-conv-l3",
    }
    assert len(free) == 53 + 4 + 1 + 2 + 4


def test_layers_that_read_removed_channels_lose_inputs(resnet50: Connectivity) -> None:
    of = resnet50.group_of
    assert resnet50.slices["block_1a_conv_1/kernel"] == (Slice(2, of["conv1"]), Slice(3, of["block_1a_conv_1"]))
    assert resnet50.slices["block_1b_conv_1/kernel"][0] == Slice(2, of["block_1a_conv_3"])
    assert resnet50.slices["bn_conv1/moving_variance"] == (Slice(0, of["conv1"]),)
    assert resnet50.slices["rpn-box/kernel"] == (Slice(2, of["rpn"]), Slice(3, of["rpn-box"]))
    assert resnet50.slices["fc7/kernel"] == (Slice(0, of["fc6"]), Slice(1, of["fc7"]))
    # A transposed convolution has its input channels last.
    assert resnet50.slices["conv5-mask/kernel"] == (Slice(3, of["mask-conv-l3"]), Slice(2, of["conv5-mask"]))


def test_a_shared_layer_makes_its_inputs_one_group_and_a_mixing_layer_keeps_them_whole() -> None:
    image = keras.Input((8, 8, 2))
    left = Convolution(6, 1, name="left")(image)
    right = Convolution(6, 1, name="right")(image)
    third = Convolution(6, 1, name="third", activation="sigmoid")(image)
    mixed = Convolution(6, 1, name="mixed")(image)
    shared = Convolution(4, 1, name="shared")
    softmax = keras.layers.Activation("softmax", name="softmax")(mixed)
    outputs = [shared(left), shared(right), third, softmax]
    connected = connectivity([keras.Model(image, [Convolution(1, 1, name=f"o{i}")(o) for i, o in enumerate(outputs)])])
    assert members(connected, "left") == {"left", "right"}
    assert connected.groups[connected.group_of["left"]].whole is None
    assert connected.groups[connected.group_of["shared"]].whole is None
    assert connected.groups[connected.group_of["third"]].whole == "activation sigmoid"
    assert connected.groups[connected.group_of["mixed"]].whole == "softmax"


@pytest.mark.parametrize("channels_first", [True, False])
def test_a_dense_layer_behind_a_flattening_loses_the_right_rows(channels_first: bool) -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 3, 2))
    x = Convolution(5, 3, activation="relu", bias_initializer="random_normal", name="conv")(image)
    if channels_first:
        x = keras.layers.Permute((3, 1, 2), name="chw")(x)
    x = keras.layers.Dense(7, name="dense")(keras.layers.Flatten(name="flatten")(x))
    model = keras.Model(image, x)
    connected = connectivity([model])
    (rows, _) = connected.slices["dense/kernel"]
    assert (rows.outer, rows.inner) == ((1, 12) if channels_first else (12, 1))

    kept = np.array([0, 3, 4])
    conv, dense = model.get_layer("conv"), model.get_layer("dense")
    images = np.random.default_rng(1).normal(size=(2, 4, 3, 2)).astype(np.float32)
    hidden = conv(images).numpy()[..., kept]
    flat = (hidden.transpose(0, 3, 1, 2) if channels_first else hidden).reshape(2, -1)
    pruned = flat @ dense.kernel.numpy()[positions(kept, rows, 5)] + dense.bias.numpy()

    gone = np.setdiff1d(np.arange(5), kept)
    kernel, bias = conv.kernel.numpy(), conv.bias.numpy()
    kernel[..., gone], bias[gone] = 0, 0
    conv.set_weights([kernel, bias])
    np.testing.assert_allclose(pruned, model(images).numpy(), atol=1e-5)
    assert np.abs(pruned).max() > 0.05


class Shuffled(Convolution):
    """Convolution that treats channels differently from its base class."""


@pytest.mark.parametrize(
    ("strange", "kind"),
    [
        (lambda: keras.layers.DepthwiseConv2D(3, padding="same", name="strange"), "DepthwiseConv2D"),
        (lambda: keras.layers.Conv2D(6, 3, padding="same", groups=2, name="strange"), "Conv2D"),
        (lambda: Shuffled(6, 3, name="strange"), "Shuffled"),
    ],
)
def test_layer_whose_type_has_no_rule_is_refused_by_name(strange: Callable[[], keras.layers.Layer], kind: str) -> None:
    image = keras.Input((8, 8, 2))
    x = strange()(Convolution(6, 1, name="before")(image))
    model = keras.Model(image, Convolution(3, 1, name="after")(x))
    with pytest.raises(UnknownLayerError, match=f"^strange: no rule for pruning of a layer of type {kind}; "):
        connectivity([model])
