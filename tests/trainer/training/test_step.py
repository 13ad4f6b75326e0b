"""Training step compared with plain computations, on a small network."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tests.trainer.training.plain_losses import mask_loss

from maskrcnn_trainer.data.gpu_batches import sent_form
from maskrcnn_trainer.data.transforms import normalize
from maskrcnn_trainer.model.anchors import anchors_per_level, generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.proposals import propose
from maskrcnn_trainer.model.roi_align import roi_align
from maskrcnn_trainer.training import loss_scale, losses, not_finite
from maskrcnn_trainer.training import step as step_module
from maskrcnn_trainer.training.mask_targets import mask_targets
from maskrcnn_trainer.training.roi_sampling import RoiSampling, sample_rois
from maskrcnn_trainer.training.schedule import Schedule
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import LOSSES, TrainStep

pytestmark = pytest.mark.trainer

IMAGE_SIZE = (64, 64)
ARCHITECTURE = Architecture(nlayers=10, num_classes=3, fast_rcnn_mlp_head_dim=16, mrcnn_resolution=8, anchor_scale=4)
SETTINGS = TrainSettings(
    Schedule(0.01, boundaries=(0,), decay_levels=(0.5,)),
    l2_weight_decay=0.001,
    l1_weight_decay=0.0001,
    rpn_batch_size_per_im=32,
    pre_nms_topn=60,
    post_nms_topn=40,
    sampling=RoiSampling(batch_size_per_im=12, fg_fraction=0.5),
    mask_resolution=8,
    mrcnn_weight_loss_mask=2.0,
    rpn_box_loss_weight=3.0,
    fast_rcnn_box_loss_weight=0.5,
)
ANCHORS = generate_anchors(ARCHITECTURE, IMAGE_SIZE)


def network(**options: Any) -> MaskRCNN:
    return MaskRCNN(ARCHITECTURE, **{"freeze_bn": False, "seed": 1, **options})


def make_batch(seed: int) -> dict[str, tf.Tensor]:
    """Return a batch of two images with three instances and one instance."""
    generator = np.random.default_rng(seed)
    boxes = np.full((2, 5, 4), -1.0, np.float32)
    classes = np.full((2, 5), -1, np.int32)
    masks = np.zeros((2, 5, 16, 16), np.uint8)
    for image, count in enumerate((3, 1)):
        corner = generator.uniform(2, 30, (count, 2))
        boxes[image, :count] = np.concatenate([corner, corner + generator.uniform(8, 30, (count, 2))], axis=1)
        classes[image, :count] = generator.integers(1, 3, count)
        masks[image, :count, 2:-2, 2:-2] = 255 * (generator.random((count, 12, 12)) > 0.3)
    anchors = len(ANCHORS)
    labels = np.where(generator.random((2, anchors)) < 0.05, generator.integers(0, 2, (2, anchors)), -1)
    targets = np.where((labels == 1)[..., None], generator.normal(size=(2, anchors, 4)), 0.0)
    return {
        "images": tf.constant(generator.normal(size=(2, *IMAGE_SIZE, 3)), tf.float32),
        "image_info": tf.constant([[*IMAGE_SIZE, 1.0, *IMAGE_SIZE]] * 2, tf.float32),
        "position": tf.constant([10 * seed, 10 * seed + 1], tf.int64),
        "gt_boxes": tf.constant(boxes),
        "gt_classes": tf.constant(classes),
        "cropped_gt_masks": tf.constant(masks),
        "rpn_labels": tf.constant(labels, tf.int32),
        "rpn_box_targets": tf.constant(targets, tf.float32),
    }


def plain_losses(net: MaskRCNN, batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    """Compute the five weighted losses image by image, with the mask branch of all RoIs that may be foreground."""
    settings = SETTINGS
    features, logits, deltas = net.feature_outputs(batch["images"], training=True)
    sizes = list(anchors_per_level(ARCHITECTURE, IMAGE_SIZE).values())
    proposals, _ = propose(
        logits, deltas, ANCHORS, sizes, IMAGE_SIZE, pre_nms_topn=60, post_nms_topn=40, nms_threshold=0.7, min_size=0.0
    )
    rois = sample_rois(
        proposals,
        batch["gt_boxes"],
        batch["gt_classes"],
        batch["position"],
        seed=settings.seed,
        settings=settings.sampling,
    )
    pooled = tf.reshape(roi_align(features, rois.boxes, 2, 2, 6), [24, 2, 2, 256])
    class_logits, box_deltas = net.box_outputs(pooled)
    classes = tf.reshape(rois.classes, [-1])
    rows = rois.boxes[:, :6]
    mask_pooled = tf.reshape(roi_align(features, rows, 4, 2, 6), [12, 4, 4, 256])
    mask_classes = tf.reshape(rois.classes[:, :6], [-1])
    all_logits = net.mask_outputs(mask_pooled)
    mask_logits = tf.gather(all_logits, tf.maximum(mask_classes, 0), axis=3, batch_dims=1)
    index = tf.reshape(rois.gt_index[:, :6], [-1])
    images = tf.repeat([0, 1], 6)
    instance = tf.gather_nd(batch["gt_boxes"], tf.stack([images, index], axis=1))
    targets = mask_targets(tf.reshape(rows, [-1, 4]), instance, batch["cropped_gt_masks"], images, index, resolution=8)
    return [
        losses.rpn_score_loss(logits, batch["rpn_labels"], batch_size=2, anchors_per_image=32),
        3.0 * losses.rpn_box_loss(deltas, batch["rpn_box_targets"], sizes),
        losses.class_loss(class_logits, classes),
        0.5 * losses.box_loss(box_deltas, classes, tf.reshape(rois.box_targets, [-1, 4])),
        2.0 * mask_loss(mask_logits, targets, mask_classes > 0),
    ]


def plain_gradients(net: MaskRCNN, batch: dict[str, tf.Tensor]) -> tuple[list[float], list[np.ndarray]]:
    @tf.function(autograph=False)
    def compute() -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            values = plain_losses(net, batch)
            total = tf.add_n(values)
        gradients = tape.gradient(total, net.trainable_variables)
        return values, [tf.convert_to_tensor(gradient) for gradient in gradients]

    values, gradients = compute()
    return [float(value) for value in values], [gradient.numpy() for gradient in gradients]


@pytest.fixture(scope="module")
def first_step() -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the measurements of the first step with stored statistics on batch 1, and the state after it."""
    step = TrainStep(network(freeze_bn=True), SETTINGS, ANCHORS, IMAGE_SIZE)
    measured = step(make_batch(1))
    return dict(measured), step.state()


def assert_close(ours: np.ndarray, theirs: np.ndarray, name: str, tolerance: float = 2e-4) -> None:
    scale = np.abs(theirs).max() + 1e-8
    assert np.abs(ours - theirs).max() <= tolerance * scale, name


def test_a_step_is_the_plain_gradient_decay_and_momentum() -> None:
    net, batch = network(), make_batch(1)
    names = [net.variable_name(variable) for variable in net.trainable_variables]
    before = [variable.numpy() for variable in net.trainable_variables]
    values, gradients = plain_gradients(net, batch)
    step = TrainStep(net, SETTINGS, ANCHORS, IMAGE_SIZE)
    measured = step(batch, tf.constant([3.0]))

    for name, value in zip(LOSSES, values, strict=True):
        assert measured[name] == pytest.approx(value, rel=1e-4), name
    kernels = [value for name, value in zip(names, before, strict=True) if name.endswith("/kernel")]
    l2 = sum(0.001 * float((kernel.astype(np.float64) ** 2).sum()) / 2 for kernel in kernels)
    l1 = sum(0.0001 * float(np.abs(kernel.astype(np.float64)).sum()) / 2 for kernel in kernels)
    assert measured["l2_loss"] == pytest.approx(l2, rel=1e-4)
    assert measured["l1_loss"] == pytest.approx(l1, rel=1e-4)
    assert measured["total_loss"] == pytest.approx(sum(values) + l1 + l2, rel=1e-4)
    assert measured["learning_rate"] == pytest.approx(0.01)
    assert 4 <= measured["foreground_rois"] <= 12
    assert measured.flags.tolist() == [3.0]
    assert measured["finite"]
    assert measured["updated"]

    for name, value, gradient, variable in zip(names, before, gradients, net.trainable_variables, strict=True):
        decayed = gradient
        if name.endswith("/kernel"):
            decayed = gradient + 0.001 * value + 0.00005 * np.sign(value)
        elif name.endswith(("/bias", "/beta")):
            decayed = 2.0 * gradient
        velocity = step.state()[f"momentum/{name}"]
        assert_close(velocity, decayed, name)
        np.testing.assert_allclose(variable.numpy(), value - 0.01 * velocity, rtol=1e-5, atol=1e-7, err_msg=name)

    assert int(step.step.numpy()) == 1
    assert step(batch)["learning_rate"] == pytest.approx(0.005)  # the rate drops in the step after step 0


def test_two_ranks_are_the_mean_of_their_gradients(first_step: tuple[dict, dict]) -> None:
    first, second = make_batch(1), make_batch(2)
    counterpart = TrainStep(network(freeze_bn=True), SETTINGS, ANCHORS, IMAGE_SIZE)
    vector, gradients = counterpart._gradients(second, tf.constant(1.0))

    def average(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return the averages of rank 0 if the other rank trains on the second batch."""
        theirs = [*gradients, tf.concat([vector, [1.0]], axis=0)]
        return [(one + two) / 2.0 for one, two in zip(tensors, theirs, strict=True)]

    joined = TrainStep(network(freeze_bn=True), SETTINGS, ANCHORS, IMAGE_SIZE, average=average)
    both = joined(first, tf.constant([0.0]))
    measured, alone = first_step
    assert both.flags.tolist() == [0.5]
    for name, theirs in zip((*LOSSES, "foreground_rois"), vector.numpy(), strict=True):
        assert both[name] == pytest.approx((measured[name] + theirs) / 2, rel=1e-4)

    # The velocity is a + d (d is the decay) for the first batch alone, and (a + b) / 2 + d for both.
    names = [joined.network.variable_name(variable) for variable in joined.network.trainable_variables]
    for name, other in zip(names, gradients, strict=True):
        if name.endswith(("/bias", "/gamma", "/beta")):
            factor = 1.0 if name.endswith("/gamma") else 2.0
            expected = (alone[f"momentum/{name}"] + factor * other.numpy()) / 2
            assert_close(joined.state()[f"momentum/{name}"], expected, name)


def test_step_that_is_not_finite_changes_nothing_and_is_reported() -> None:
    net, batch = network(freeze_bn=True), make_batch(1)
    step = TrainStep(net, SETTINGS, ANCHORS, IMAGE_SIZE)
    before = [variable.numpy() for variable in net.trainable_variables]
    measured = step({**batch, "images": tf.fill(batch["images"].shape, np.float32(np.nan))})
    assert not measured["finite"]
    assert not measured["updated"]
    for variable, value in zip(net.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert int(step.step.numpy()) == 1


def test_measurements_are_one_vector_of_named_values_and_flags(first_step: tuple[dict, dict]) -> None:
    step = TrainStep(network(freeze_bn=True), SETTINGS, ANCHORS, IMAGE_SIZE)
    measured = step(make_batch(1), tf.constant([0.25, 0.5]))
    assert (measured.vector.dtype, measured.vector.shape) == (np.float32, (len(measured) + 2,))
    assert measured.flags.tolist() == [0.25, 0.5]
    assert dict(measured) == first_step[0]
    total = sum(measured[name] for name in (*LOSSES, "l1_loss", "l2_loss"))
    assert measured["total_loss"] == pytest.approx(total, rel=1e-6)
    assert (measured["updated"], measured["finite"], measured["overflowed"]) == (1.0, 1.0, -1.0)


def test_rounded_pixels_are_normalized_in_the_step_and_their_padding_is_zero() -> None:
    """A batch as it is sent to a GPU trains like the same pixels normalized on the host."""
    generator, batch = np.random.default_rng(5), make_batch(1)
    height, width = 50, 60
    pixels = generator.integers(0, 256, (2, *IMAGE_SIZE, 3)).astype(np.uint8)
    pixels[:, height:], pixels[:, :, width:] = 0, 0
    info = tf.constant([[height, width, 1.0, height, width]] * 2, tf.float32)
    normal = normalize(tf.constant(pixels)).numpy()
    normal[:, height:], normal[:, :, width:] = 0.0, 0.0
    found = []
    for images in (normal, pixels):
        given = {**batch, "image_info": info, "images": tf.constant(images)}
        step = TrainStep(network(freeze_bn=True), SETTINGS, ANCHORS, IMAGE_SIZE)
        found.append(dict(step(sent_form(given) if images.dtype == np.uint8 else given)))
    assert found[0] == found[1]


def test_restored_step_continues_exactly() -> None:
    batches = [make_batch(seed) for seed in (1, 2, 3)]
    net = network()
    step = TrainStep(net, SETTINGS, ANCHORS, IMAGE_SIZE)
    for batch in batches[:2]:
        step(batch)
    state, weights = step.state(), [variable.numpy() for variable in net.variables]
    count = net.moving_average_updates.numpy()
    expected = step(batches[2])

    other = network(seed=9)
    resumed = TrainStep(other, SETTINGS, ANCHORS, IMAGE_SIZE)
    for variable, value in zip(other.variables, weights, strict=True):
        variable.assign(value)
    other.moving_average_updates.assign(count)
    resumed.restore(state)
    measured = resumed(batches[2])
    assert measured["total_loss"] == pytest.approx(expected["total_loss"], rel=1e-6)
    for one, two in zip(net.variables, other.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-5, atol=1e-6)
    moving = [v for v in net.variables if "moving_mean" in v.name]
    assert moving
    assert all(np.abs(v.numpy()).max() > 0 for v in moving)


def test_float16_scales_the_loss_and_skips_overflows(first_step: tuple[dict, dict]) -> None:
    batch = make_batch(1)
    expected, theirs = first_step
    net = network(freeze_bn=True, dtype="mixed_float16")
    step = TrainStep(net, SETTINGS, ANCHORS, IMAGE_SIZE)
    # Without trained statistics some gradients of this network exceed 65504 at the default scale, so start lower.
    step.restore({**step.state(), "loss_scale/scale": np.float32(8.0)})
    measured = step(batch)
    assert measured["updated"]
    assert measured["loss_scale"] == 8.0
    assert measured["total_loss"] == pytest.approx(expected["total_loss"], rel=0.05)
    ours = step.state()
    name = "momentum/fc7/kernel"
    correlation = np.corrcoef(ours[name].ravel(), theirs[name].ravel())[0, 1]
    assert correlation > 0.95

    step.restore({**step.state(), "loss_scale/scale": np.float32(2.0**60)})
    before = [variable.numpy() for variable in net.trainable_variables]
    measured = step(batch)
    assert measured["finite"]
    assert not measured["updated"]
    assert float(step.state()["loss_scale/scale"]) == 2.0**59
    for variable, value in zip(net.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert int(step.step.numpy()) == 2


def test_gradients_that_are_never_finite_at_the_smallest_scale_end_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a step in 16 bits takes ten times as long as in 32 on a CPU
    for module in (loss_scale, not_finite):
        monkeypatch.setattr(module, "STEPS_AT_LEAST", 3)
    batch = make_batch(1)
    net = network(freeze_bn=True, dtype="mixed_float16")
    # the loss is finite, but the gradients of the mask head are not finite in 16 bits
    step = TrainStep(net, replace(SETTINGS, mrcnn_weight_loss_mask=1e30), ANCHORS, IMAGE_SIZE)
    step.restore({**step.state(), "loss_scale/scale": np.float32(2.0)})
    measured = [step(batch) for _ in range(1 + 3)]
    assert all(np.isfinite(one["total_loss"]) for one in measured)
    assert not any(one["updated"] for one in measured)
    assert [one["finite"] for one in measured] == [1.0] * 3 + [0.0]
    assert "mask" in str(step.overflowed_variable(measured[-1]))
    message = not_finite.not_finite(21, measured[-1], step)
    assert re.search(r"not finite in the last 3 steps, up to step 21 \(including that of mask\S+\)", message)


def test_layer_whose_gradient_is_not_finite_is_named_without_loss_scaling() -> None:
    net = network(freeze_bn=True)
    step = TrainStep(net, replace(SETTINGS, rpn_box_loss_weight=1e38), ANCHORS, IMAGE_SIZE)
    measured = step(make_batch(1))
    assert not measured["finite"]
    assert "mask" not in str(step.overflowed_variable(measured))


def test_settings_of_the_architecture_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = replace(
        ARCHITECTURE,
        roi_max_level=5,
        roi_aligned=False,
        roi_sampling_ratio=0,
        clip_small_deltas=True,
        rank_by_sigmoid=True,
        least_proposal_side=3.0,
    )
    used: dict[str, list[dict[str, Any]]] = {}
    for name in ("propose", "roi_align"):
        original = getattr(step_module, name)

        def recorded(*given: Any, name: str = name, original: Any = original, **options: Any) -> Any:
            used.setdefault(name, []).append({**options, "given": given})
            return original(*given, **options)

        monkeypatch.setattr(step_module, name, recorded)
    trained = TrainStep(MaskRCNN(architecture, seed=1), replace(SETTINGS, rpn_min_size=2.0), ANCHORS, IMAGE_SIZE)
    trained._forward_backward(make_batch(1), tf.constant(1.0))
    (proposed,) = used["propose"]
    assert (proposed["clip_small_deltas"], proposed["rank_by_sigmoid"], proposed["min_size"]) == (True, True, 3.0)
    assert {pooled["given"][3:5] for pooled in used["roi_align"]} == {(2, 5)}
    assert {(pooled["aligned"], pooled["sampling_ratio"]) for pooled in used["roi_align"]} == {(False, 0)}
    assert all(6 not in pooled["given"][0] for pooled in used["roi_align"][1:])  # the mask branch has no gradient there
