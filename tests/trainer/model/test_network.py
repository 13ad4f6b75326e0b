"""The whole network: shapes, freezing, folding, masks of a class, XLA, mixed precision, and pruned widths."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tests.backbones import SMALLEST

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.batch_norm import BatchNorm
from maskrcnn_trainer.model.convolution import Convolution
from maskrcnn_trainer.model.network import MaskRCNN

pytestmark = pytest.mark.trainer

SMALL = Architecture(nlayers=10, num_classes=4, fast_rcnn_mlp_head_dim=16)
RNG = np.random.default_rng(1)
IMAGES = RNG.normal(size=(2, 64, 128, 3)).astype(np.float32)


def with_statistics(network: MaskRCNN, seed: int = 2) -> MaskRCNN:
    """Set the statistics of batch norms to values as in a trained network."""
    rng = np.random.default_rng(seed)
    for name, variable in network.named_variables.items():
        size = tuple(variable.shape)
        if name.endswith("moving_variance"):
            variable.assign(rng.uniform(0.5, 2.0, size))
        elif name.endswith("gamma"):
            variable.assign(rng.uniform(0.7, 1.3, size))
        elif name.endswith(("beta", "moving_mean")):
            variable.assign(rng.normal(0, 0.1, size))
    return network


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    return with_statistics(MaskRCNN(SMALL, seed=3))


def test_shapes_are_static_and_the_image_size_is_not_baked_in(network: MaskRCNN) -> None:
    for height, width in ((64, 128), (128, 64)):
        traced = tf.function(network.feature_outputs).get_concrete_function(tf.TensorSpec((2, height, width, 3)), False)
        features, logits, deltas = traced.structured_outputs
        assert {level: tuple(f.shape) for level, f in features.items()} == {
            level: (2, height >> level, width >> level, 256) for level in range(2, 7)
        }
        anchors = sum((height >> level) * (width >> level) * 3 for level in range(2, 7))
        assert tuple(logits.shape) == (2, anchors)
        assert tuple(deltas.shape) == (2, anchors, 4)
    logits, deltas = network.box_outputs(tf.zeros((5, 7, 7, 256)))
    assert (tuple(logits.shape), tuple(deltas.shape)) == ((5, 4), (5, 4, 4))
    assert tuple(network.mask_outputs(tf.zeros((5, 14, 14, 256))).shape) == (5, 28, 28, 4)


def test_max_level_five_has_no_p6() -> None:
    features = MaskRCNN(replace(SMALL, max_level=5)).feature_outputs(IMAGES)[0]
    assert sorted(features) == [2, 3, 4, 5]


def test_rpn_of_the_first_cell_comes_first_in_anchor_order(network: MaskRCNN) -> None:
    features, logits, deltas = network.feature_outputs(IMAGES)
    # The first cell of level 2 computed by hand: a 3x3 product in the corner, then the cell's three anchors.
    values = network.named_variables
    patch = np.pad(features[2].numpy()[0, :2, :2], ((1, 0), (1, 0), (0, 0)))
    hidden = np.maximum(np.tensordot(patch, values["rpn/kernel"].numpy(), 3) + values["rpn/bias"].numpy(), 0)
    box = hidden @ values["rpn-box/kernel"].numpy()[0, 0]
    np.testing.assert_allclose(logits[0, :3], hidden @ values["rpn-class/kernel"].numpy()[0, 0], atol=1e-5)
    np.testing.assert_allclose(deltas[0, :3], box.reshape(3, 4), atol=1e-5)


def test_fc6_reads_channels_first(network: MaskRCNN) -> None:
    features = RNG.normal(size=(3, 7, 7, 256)).astype(np.float32)
    values = {name: v.numpy() for name, v in network.named_variables.items()}
    x = features.transpose(0, 3, 1, 2).reshape(3, -1)
    for name in ("fc6", "fc7"):
        x = np.maximum(x @ values[f"{name}/kernel"] + values[f"{name}/bias"], 0)
    logits, deltas = network.box_outputs(features)
    np.testing.assert_allclose(logits, x @ values["class-predict/kernel"], atol=1e-4)
    np.testing.assert_allclose(deltas, (x @ values["box-predict/kernel"]).reshape(3, 4, 4), atol=1e-4)


@pytest.mark.parametrize("jit", [False, True])
def test_masks_of_a_class_are_those_of_the_full_head_with_gradients(network: MaskRCNN, jit: bool) -> None:
    features = tf.constant(RNG.normal(size=(4, 14, 14, 256)).astype(np.float32))
    ids = tf.constant([3, 0, 1, 2])
    variables = [v for v in network.trainable_variables if network.network_path(v).startswith("mask_head")]
    for name, variable in network.named_variables.items():
        if name in ("conv5-mask/bias", "mask_fcn_logits/bias"):
            variable.assign(RNG.normal(0, 0.1, variable.shape))

    def run(of_class: bool) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            masks = network.mask_outputs(features, ids) if of_class else network.mask_outputs(features)
            if not of_class:
                masks = tf.einsum("rhwk,rk->rhw", masks, tf.one_hot(ids, 4))
            loss = tf.reduce_sum(tf.square(masks))
        return masks, tape.gradient(loss, variables)

    one, one_gradients = tf.function(run, jit_compile=jit)(True)
    full, full_gradients = tf.function(run, jit_compile=jit)(False)
    assert float(np.abs(full).max()) > 0.1
    np.testing.assert_allclose(one, full, atol=1e-5)
    for a, b in zip(one_gradients, full_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(np.abs(b).max()))
    assert not np.any(network.mask_outputs(features, tf.constant([-1, 4, -1, 9])))


def test_training_runs_the_same_under_xla() -> None:
    """Outputs, gradients, and moving statistics, with batch moments."""
    results = []
    for jit in (False, True):
        network = with_statistics(MaskRCNN(SMALL, freeze_bn=False, seed=3))
        variables = [v for v in network.trainable_variables if "head" not in network.network_path(v)]

        @tf.function(jit_compile=jit)
        def step(
            images: tf.Tensor, network: MaskRCNN = network, variables: list[tf.Variable] = variables
        ) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                features, logits, _ = network.feature_outputs(images, training=True)
                loss = tf.add_n([tf.reduce_mean(tf.square(f)) for f in features.values()])
            return logits, tape.gradient(loss, variables)

        logits, gradients = step(IMAGES)
        assert network.moving_average_updates.numpy() == 1
        results.append((logits, gradients, network.named_variables["block_4a_bn_2/moving_mean"].numpy()))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-5)
    np.testing.assert_allclose(results[0][2], results[1][2], atol=1e-5)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3 * float(np.abs(b).max()) + 1e-6)


@pytest.mark.parametrize(("arch", "depth"), SMALLEST)
def test_folding_the_scale_changes_no_value_and_no_gradient(arch: str, depth: int) -> None:
    """The network is compared with one whose batch norms multiply activations, as they are defined."""
    results = []
    for fold in (True, False):
        network = with_statistics(MaskRCNN(replace(SMALL, arch=arch, nlayers=depth), seed=3))
        for layer in network.layers.values():
            if isinstance(layer, Convolution) and not fold:
                layer.carry_scale(lambda training: None)
            if isinstance(layer, BatchNorm):
                assert layer.scale_in_kernel
                layer.scale_in_kernel = fold
        backbone = [v for v in network.trainable_variables if network.network_path(v).startswith("backbone")]
        with tf.GradientTape() as tape:
            features = network.feature_outputs(IMAGES, training=True)[0]
            loss = tf.add_n([tf.reduce_mean(tf.square(f)) for f in features.values()])
        results.append((features, tape.gradient(loss, backbone)))
    for level in range(2, 7):
        np.testing.assert_allclose(results[0][0][level], results[1][0][level], atol=1e-5)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * float(np.abs(b).max()) + 1e-7)


def test_frozen_blocks_train_nothing_and_keep_their_statistics() -> None:
    network = with_statistics(MaskRCNN(SMALL, freeze_bn=False, freeze_blocks=(0, 1), seed=3))
    names = [network.variable_name(v) for v in network.trainable_variables]
    assert not [n for n in names if n.startswith(("conv1/", "bn_conv1/", "block_1"))]
    assert "block_2a_conv_1/kernel" in names
    assert "block_2a_bn_1/gamma" in names
    before = {name: v.numpy() for name, v in network.named_variables.items()}
    network.feature_outputs(IMAGES, training=True)
    changed = {n.split("/")[0] for n, v in network.named_variables.items() if np.any(v.numpy() != before[n])}
    assert changed == {n.split("/")[0] for n in names if "_bn_" in n}


def test_freeze_bn_keeps_statistics_but_trains_gamma_and_beta() -> None:
    network = with_statistics(MaskRCNN(SMALL, freeze_bn=True))
    names = [network.variable_name(v) for v in network.trainable_variables]
    assert "bn_conv1/gamma" in names
    assert "bn_conv1/beta" in names
    before = {name: v.numpy() for name, v in network.named_variables.items()}
    network.feature_outputs(IMAGES, training=True)
    assert all(np.array_equal(v.numpy(), before[name]) for name, v in network.named_variables.items())
    assert network.moving_average_updates.numpy() == 0


def test_freeze_bn_affine_trains_no_gamma_and_beta_but_moves_statistics() -> None:
    network = with_statistics(MaskRCNN(SMALL, freeze_bn=False, freeze_bn_affine=True, freeze_blocks=(0,)))
    names = [network.variable_name(v) for v in network.trainable_variables]
    assert not [name for name in names if name.endswith(("/gamma", "/beta"))]
    assert "block_1a_conv_1/kernel" in names
    before = {name: v.numpy() for name, v in network.named_variables.items()}
    network.feature_outputs(IMAGES, training=True)
    changed = {name for name, v in network.named_variables.items() if np.any(v.numpy() != before[name])}
    assert {name.rpartition("/")[2] for name in changed} == {"moving_mean", "moving_variance"}
    assert "block_4a_bn_1/moving_mean" in changed


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_shortcut_and_branch_exchange_their_moments_together(dtype: str) -> None:
    """Values, gradients, and statistics stay those of one process; the last norm of a block waits for its shortcut."""
    reduced: list[tuple[int, ...]] = []

    def sync_moments(moments: tf.Tensor) -> tf.Tensor:
        assert moments.dtype == tf.float32
        reduced.append(tuple(moments.shape))
        return moments

    def run(network: MaskRCNN) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            _, logits, _ = network.feature_outputs(IMAGES, training=True)
            loss = tf.reduce_sum(tf.square(logits))
        gradients = tape.gradient(loss, network.trainable_variables, unconnected_gradients="zero")
        moved = [value for name, value in network.named_variables.items() if "moving_" in name]
        # In 16 bits the rounding of an activation decides whether a ReLU passes its gradient.
        return [value.numpy() for value in (loss, *moved, *(gradients if dtype == "float32" else ()))]

    options = {"freeze_bn": False, "freeze_blocks": (1,), "dtype": dtype, "seed": 3}
    alone = MaskRCNN(SMALL, **options)
    together = MaskRCNN(SMALL, sync_moments=sync_moments, **options)
    tolerance = 1e-3 if dtype == "float32" else 0.02
    for ours, theirs in zip(run(together), run(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())
    # the stem, and in each block that trains its first norm alone and two together
    assert sorted(reduced) == sorted([(2, 64), *((2, width) for c in (128, 256, 512) for width in (c, 2 * c))])
    together.feature_outputs(IMAGES, training=False)
    assert len(reduced) == 7


def test_statistics_to_average_are_those_that_this_process_moves_alone() -> None:
    options = {"freeze_bn": False, "freeze_blocks": (0, 1, 2, 3)}
    own = MaskRCNN(SMALL, **options).own_statistics
    assert [tuple(variable.shape) for variable in own] == [(512,)] * 6
    assert MaskRCNN(SMALL, sync_moments=lambda moments: moments, **options).own_statistics == []
    assert MaskRCNN(SMALL, freeze_bn=True).own_statistics == []


def test_initial_values_follow_the_seed_and_the_rules() -> None:
    one, same, other = (MaskRCNN(Architecture(nlayers=10), seed=seed) for seed in (7, 7, 8))
    for name, variable in one.named_variables.items():
        np.testing.assert_array_equal(variable, same.named_variables[name])
        if name.endswith("kernel"):
            assert np.any(variable.numpy() != other.named_variables[name].numpy())
    values = {name: v.numpy() for name, v in one.named_variables.items()}
    deviations = {
        "rpn/kernel": 0.01,
        "rpn-class/kernel": 0.01,
        "rpn-box/kernel": 0.01,
        "class-predict/kernel": 0.01,
        "box-predict/kernel": 0.001,
        "mask-conv-l2/kernel": (2 / (9 * 256)) ** 0.5,
        "conv5-mask/kernel": (2 / (4 * 256)) ** 0.5,
        "mask_fcn_logits/kernel": 0.01,
        "fc6/kernel": (2 / (12544 + 1024)) ** 0.5,
        "block_3a_conv_2/kernel": (2 / (9 * 256 * 2)) ** 0.5,
        "l3/kernel": (2 / (128 + 256)) ** 0.5,
    }
    for name, deviation in deviations.items():
        assert float(values[name].std()) == pytest.approx(deviation, rel=0.06), name
    assert not any(np.any(value) for name, value in values.items() if name.endswith(("bias", "beta")))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_variables_and_results_in_float32(dtype: str) -> None:
    network = MaskRCNN(SMALL, dtype=dtype, freeze_bn=False, seed=3)
    exact = MaskRCNN(SMALL, freeze_bn=False, seed=3)
    assert {v.dtype for v in network.variables} == {tf.float32}
    features, logits, deltas = network.feature_outputs(IMAGES[:1, :64, :64], training=True)
    assert {f.dtype.name for f in features.values()} == {dtype.removeprefix("mixed_")}
    half = features[2].dtype
    box = network.box_outputs(tf.ones((2, 7, 7, 256), half))
    mask = network.mask_outputs(tf.ones((2, 14, 14, 256), half), tf.constant([1, 2]))
    full_mask = network.mask_outputs(tf.ones((2, 14, 14, 256), half))
    assert {t.dtype for t in (logits, deltas, *box, mask, full_mask)} == {tf.float32}
    wanted = exact.feature_outputs(IMAGES[:1, :64, :64], training=True)[0][2]
    error = np.abs(tf.cast(features[2], tf.float32).numpy() - wanted.numpy()).max()
    assert error < 0.1 * np.abs(wanted).max()


def test_pruned_widths_are_built() -> None:
    filters = {"conv1": 48, "block_2a_conv_1": 40, "l2": 32, "l3": 32, "l4": 32, "l5": 32, "rpn": 24, "fc6": 8}
    network = MaskRCNN(replace(SMALL, filters={**filters, "mask-conv-l1": 16}))
    shapes = {name: tuple(v.shape) for name, v in network.named_variables.items()}
    assert shapes["conv1/kernel"] == (7, 7, 3, 48)
    assert shapes["bn_conv1/gamma"] == (48,)
    assert shapes["block_2a_conv_2/kernel"] == (3, 3, 40, 128)
    assert shapes["post_hoc_d2/kernel"] == (3, 3, 32, 256)
    assert shapes["rpn-box/kernel"] == (1, 1, 24, 12)
    assert shapes["fc7/kernel"] == (8, 16)
    assert shapes["mask-conv-l2/kernel"] == (3, 3, 16, 256)
    assert np.isfinite(network.feature_outputs(IMAGES)[1]).all()


def test_names_and_paths(network: MaskRCNN) -> None:
    wanted = {
        "conv1/kernel": "backbone/conv1/kernel",
        "l2/bias": "fpn/l2/bias",
        "rpn-class/kernel": "rpn_head/rpn-class/kernel",
        "fc6/kernel": "box_head/fc6/kernel",
        "mask_fcn_logits/bias": "mask_head/mask_fcn_logits/bias",
    }
    for name, path in wanted.items():
        assert network.network_path(network.named_variables[name]) == path
        assert network.named_variables[name].name == f"{name}:0"
    with pytest.raises(KeyError):
        network.network_path("conv9/kernel")
    for model in (network.feature_extractor, network.box_head, network.mask_head):
        assert isinstance(model, keras.Model)
    assert network.feature_extractor.get_layer("block_4a_relu") is not None


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"freezeBlocks: \[5\] has blocks other than 0, 1, 2, 3, 4$"):
        MaskRCNN(SMALL, freeze_blocks=(5,))
    with pytest.raises(InvalidInput, match="dtype"):
        MaskRCNN(SMALL, dtype="float64")
