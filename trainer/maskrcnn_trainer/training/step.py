"""Training step: forward pass, losses, gradients, reduction over ranks, and update, in a single ``tf.function``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data.gpu_batches import trained_form
from maskrcnn_trainer.model.anchors import anchors_per_level
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.proposals import propose
from maskrcnn_trainer.model.roi_align import roi_align
from maskrcnn_trainer.task.device import index_dtype
from maskrcnn_trainer.training import losses
from maskrcnn_trainer.training.decay import WeightDecay
from maskrcnn_trainer.training.loss_scale import LossScale
from maskrcnn_trainer.training.mask_branch import mask_gradients, opaque, padded_sizes
from maskrcnn_trainer.training.mask_targets import mask_targets
from maskrcnn_trainer.training.measured import Measured
from maskrcnn_trainer.training.optimizer import MomentumOptimizer, squared_norm
from maskrcnn_trainer.training.roi_sampling import SampledRois, sample_rois
from maskrcnn_trainer.training.rpn_branch import rpn_losses_at_targets
from maskrcnn_trainer.training.settings import TrainSettings

Average = Callable[[list[tf.Tensor]], list[tf.Tensor]]

LOSSES = ("rpn_score_loss", "rpn_box_loss", "fast_rcnn_class_loss", "fast_rcnn_box_loss", "mask_loss")
"""Names of the losses in the order of their reduction over ranks; foreground_rois follows them."""

_MEASURED = (
    "total_loss",
    *LOSSES,
    "foreground_rois",
    "l1_loss",
    "l2_loss",
    "learning_rate",
    "loss_scale",
    "updated",
    "finite",
    "overflowed",
)
"""Names of a step's measurements in the order of their vector, which the flags follow."""


class TrainStep:
    """Training of a network, one batch for each call.

    An update averages the gradients over ranks in float32, unscales them, and checks that they are finite; adds the
    gradients of the decay; doubles those of biases and betas; clips; and applies momentum. A step whose gradients are
    not finite does not change the trainable variables, but counts as a step.

    Args:
        network: its trainable variables are updated in place.
        settings: see ``TrainSettings.from_spec``.
        anchors: float32 [A, 4] of a padded image, from ``generate_anchors``.
        image_size: (height, width) of the padded images of a batch in pixels.
        average: reduces a list of float32 tensors to their means over all ranks; None for one rank.
        jit_compile: compile the forward and backward pass with XLA, but not the reduction and the update.

    Attributes:
        step: int64 variable, steps done; the learning rate of the next one is ``settings.schedule.at(step)``.
    """

    def __init__(
        self,
        network: MaskRCNN,
        settings: TrainSettings,
        anchors: NDArray[Any],
        image_size: tuple[int, int],
        *,
        average: Average | None = None,
        jit_compile: bool = False,
    ) -> None:
        self.network = network
        self.settings = settings
        self.image_size = image_size
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="global_step")
        self._anchors = tf.constant(anchors, tf.float32)
        self._level_sizes = tuple(anchors_per_level(network.architecture, image_size).values())
        self._average = average
        self._compiled = jit_compile

        self._variables = list(network.trainable_variables)
        names = [network.variable_name(variable) for variable in self._variables]
        self._in_mask_head = [network.network_path(name).startswith("mask_head/") for name in names]
        self._decay = WeightDecay(names, l1=settings.l1_weight_decay, l2=settings.l2_weight_decay)
        self._optimizer = MomentumOptimizer(
            self._variables, names, momentum=settings.momentum, clip_norm=settings.global_gradient_clip_ratio
        )
        self._loss_scale = LossScale() if network.dtype == "mixed_float16" else None
        self._gradients = tf.function(self._forward_backward, jit_compile=jit_compile or None, autograph=False)
        self._run = tf.function(self._train, autograph=False)

    def __call__(self, batch: Mapping[str, tf.Tensor], flags: tf.Tensor | None = None) -> Measured:
        """Train on one batch.

        Args:
            batch: one element of ``training_dataset``, static shapes.
            flags: float32 [F], averaged over ranks together with the gradients and returned as ``flags``.

        Returns:
            Means over ranks: ``total_loss`` (with decay), the five of ``LOSSES``, ``l1_loss``, ``l2_loss``,
            ``foreground_rois`` (RoIs of the batch with a mask loss), ``learning_rate``, ``loss_scale`` (1 without
            scaling); 1 or 0 for ``updated`` (0 if gradients were not finite) and ``finite`` (0 if training cannot
            continue; with loss scaling, gradients that overflow count only once the scale cannot be reduced further);
            the index ``overflowed`` (see :meth:`overflowed_variable`); and the flags. On a GPU the step may still run.
        """
        vector = self._run(dict(batch), tf.zeros([0], tf.float32) if flags is None else flags)
        return Measured(vector, _MEASURED)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the step, velocities, and loss scale, which a checkpoint stores with the network's variables."""
        scale = self._loss_scale.state() if self._loss_scale else {}
        return {"global_step": self.step.numpy(), **self._optimizer.state(), **scale}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of :meth:`state`.

        Raises:
            KeyError: an entry is missing. The loss scale may be missing: training in float16 then starts with a new
                one.
            ValueError: a velocity has another shape than its variable.
        """
        self._optimizer.restore(state)
        if self._loss_scale and "loss_scale/scale" in state:
            self._loss_scale.restore(state)
        self.step.assign(state["global_step"])

    @property
    def state_variables(self) -> list[tf.Variable]:
        """Variables of :meth:`state`, in the same order on every rank."""
        scale = self._loss_scale.variables if self._loss_scale else []
        return [self.step, *self._optimizer.slots, *scale]

    @property
    def scales_loss(self) -> bool:
        """True if the loss is scaled, which is the case for float16."""
        return self._loss_scale is not None

    def overflowed_variable(self, measured: Mapping[str, float]) -> str | None:
        """Return the name of the variable nearest to the losses whose gradient was not finite, None if all were finite.

        A gradient that isn't finite makes those of all earlier layers not finite too.

        Args:
            measured: result of the step.
        """
        index = int(measured["overflowed"])
        return None if index < 0 else self.network.variable_name(self._variables[index])

    def _train(self, batch: dict[str, tf.Tensor], flags: tf.Tensor) -> tf.Tensor:
        scale = self._loss_scale.scale.read_value() if self._loss_scale else None
        measured, gradients = self._gradients(batch, tf.constant(1.0) if scale is None else scale)
        gradients, vector = self._reduce(gradients, tf.concat([measured, flags], axis=0))
        if scale is not None:
            gradients = [gradient / scale for gradient in gradients]

        values = [variable.read_value() for variable in self._variables]
        l1, l2 = self._decay.losses(values)
        named = dict(zip((*LOSSES, "foreground_rois"), tf.unstack(vector[: len(LOSSES) + 1]), strict=True))
        total = tf.add_n([*(named[name] for name in LOSSES), l1, l2])
        updated = tf.math.is_finite(total) & tf.math.is_finite(squared_norm(gradients))
        rate = self.settings.schedule.at(self.step)

        def update() -> tf.Tensor:
            self._optimizer.apply(self._decay.add_gradients(gradients, values), rate)
            return tf.constant(-1, tf.int64)

        overflowed = tf.cond(updated, update, lambda: _last_not_finite(gradients))
        finite = updated
        if self._loss_scale:
            finite = tf.math.is_finite(total) & self._loss_scale.update(updated)
        self.step.assign_add(1)
        measurements = {
            "total_loss": total,
            **named,
            "l1_loss": l1,
            "l2_loss": l2,
            "learning_rate": rate,
            "loss_scale": tf.constant(1.0) if scale is None else scale,
            "updated": updated,
            "finite": finite,
            "overflowed": overflowed,  # exact in float32 up to 2^24
        }
        stacked = tf.stack([tf.cast(measurements[name], tf.float32) for name in _MEASURED])
        return tf.concat([stacked, vector[len(LOSSES) + 1 :]], axis=0)

    def _reduce(self, gradients: list[tf.Tensor], vector: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Return the means over ranks, and assign those of the moving statistics that each rank has updated alone.

        The update is linear in the moments, so the means are the statistics updated by the mean of the ranks' moments.
        """
        if self._average is None:
            return gradients, vector
        own = self.network.own_statistics
        means = self._average([*gradients, vector, *(variable.read_value() for variable in own)])
        for variable, mean in zip(own, means[len(gradients) + 1 :], strict=True):
            variable.assign(mean)
        return means[: len(gradients)], means[len(gradients)]

    def _forward_backward(self, batch: dict[str, tf.Tensor], scale: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return losses and number of foreground RoIs, float32 [6], and gradients of the scaled loss without decay."""
        network, settings = self.network, self.settings
        batch = trained_form(batch)
        images = batch["images"]
        others = [v for v, masked in zip(self._variables, self._in_mask_head, strict=True) if not masked]
        own = [v for v, masked in zip(self._variables, self._in_mask_head, strict=True) if masked]
        with tf.GradientTape() as tape:
            features, logits, deltas = network.feature_outputs(images, training=True)
            score, rpn_box = self._rpn_losses(batch, features, logits, deltas)
            rpn_box *= settings.rpn_box_loss_weight
            rois = self._sample(batch, tf.stop_gradient(logits), tf.stop_gradient(deltas))
            class_logits, box_deltas = network.box_outputs(
                self._crops(features, rois.boxes, settings.mask_resolution // 4)
            )
            classes = tf.reshape(rois.classes, [-1])
            class_loss = losses.class_loss(class_logits, classes)
            box = settings.fast_rcnn_box_loss_weight * losses.box_loss(
                box_deltas, classes, tf.reshape(rois.box_targets, [-1, 4])
            )
            scaled = (score + rpn_box + class_loss + box) * scale

        mask_weight = settings.mrcnn_weight_loss_mask
        levels = [level for level in sorted(features) if level <= network.architecture.highest_roi_level]
        maps = [features[level] for level in levels]
        mask_maps = maps  # only maps, not the opaque copies, are connected to the tape
        if self._compiled:
            same = opaque([*maps, *rois])
            mask_maps, rois = same[: len(maps)], SampledRois(*same[len(maps) :])
        is_foreground, forward = self._mask_forward(batch, rois, levels)
        masks = mask_gradients(
            features=mask_maps,
            variables=own,
            is_foreground=is_foreground,
            forward=forward,
            weight=mask_weight * scale,
            sizes=padded_sizes(int(is_foreground.shape[0]), coarse=self._compiled),
        )
        rest = tape.gradient(
            [scaled, *maps],
            others,
            output_gradients=[tf.ones_like(scaled), *masks.features],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        by_head = {True: iter(masks.variables), False: iter(rest)}
        gradients = [tf.cast(next(by_head[masked]), tf.float32) for masked in self._in_mask_head]
        foreground = tf.reduce_sum(tf.cast(is_foreground, tf.float32))
        return tf.stack([score, rpn_box, class_loss, box, mask_weight * masks.loss, foreground]), gradients

    def _rpn_losses(
        self, batch: dict[str, tf.Tensor], features: dict[int, tf.Tensor], logits: tf.Tensor, deltas: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        labels, targets = batch["rpn_labels"], batch["rpn_box_targets"]
        anchors_per_image = self.settings.rpn_batch_size_per_im
        if not self._compiled:
            return rpn_losses_at_targets(
                self.network, features, labels, targets, self._level_sizes, anchors_per_image=anchors_per_image
            )
        score = losses.rpn_score_loss(
            logits, labels, batch_size=int(labels.shape[0]), anchors_per_image=anchors_per_image
        )
        return score, losses.rpn_box_loss(deltas, targets, self._level_sizes)

    def _sample(self, batch: dict[str, tf.Tensor], logits: tf.Tensor, deltas: tf.Tensor) -> SampledRois:
        settings = self.settings
        proposals, _ = propose(
            logits,
            deltas,
            self._anchors,
            self._level_sizes,
            self.image_size,
            pre_nms_topn=settings.pre_nms_topn,
            post_nms_topn=settings.post_nms_topn,
            nms_threshold=settings.rpn_nms_threshold,
            min_size=max(settings.rpn_min_size, self.network.architecture.least_proposal_side),
            clip_small_deltas=self.network.architecture.clip_small_deltas,
            rank_by_sigmoid=self.network.architecture.rank_by_sigmoid,
            compiled=self._compiled,
        )
        return sample_rois(
            proposals,
            batch["gt_boxes"],
            batch["gt_classes"],
            batch["position"],
            seed=settings.seed,
            settings=settings.sampling,
        )

    def _crops(
        self, features: Mapping[int, tf.Tensor], boxes: tf.Tensor, size: int, *, image_index: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return pooled features of RoIs, [B * R, size, size, C].

        Args:
            features: maps [B, h, w, C] by level.
            boxes: RoIs [B, R, 4], or [1, R, 4] with ``image_index``; y1 x1 y2 x2 in pixels of the padded image.
            size: bins along a side.
            image_index: int32 [1, R], the image of each RoI.
        """
        architecture = self.network.architecture
        crops = roi_align(
            features,
            boxes,
            size,
            architecture.min_level,
            architecture.highest_roi_level,
            sampling_ratio=architecture.roi_sampling_ratio,
            aligned=architecture.roi_aligned,
            image_index=image_index,
            compiled=self._compiled,
        )
        return tf.reshape(crops, [-1, size, size, crops.shape[-1]])

    def _mask_forward(
        self, batch: dict[str, tf.Tensor], rois: SampledRois, levels: list[int]
    ) -> tuple[tf.Tensor, Callable[[list[tf.Tensor], tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
        """Return which of the B * k RoIs that can be foreground are, bool, and the function for their forward pass."""
        limit = self.settings.sampling.foreground_limit
        images = int(batch["images"].shape[0])
        boxes = tf.reshape(rois.boxes[:, :limit], [-1, 4])
        classes = tf.reshape(rois.classes[:, :limit], [-1])
        gt_index = tf.reshape(rois.gt_index[:, :limit], [-1])
        image_index = tf.constant(np.repeat(np.arange(images), limit), index_dtype())
        instance = tf.gather(batch["gt_boxes"], rois.gt_index[:, :limit], axis=1, batch_dims=1)
        instance = tf.reshape(instance, [-1, 4])

        def forward(maps: list[tf.Tensor], chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            chosen_boxes, chosen_images = tf.gather(boxes, chosen), tf.gather(image_index, chosen)
            crops = self._crops(
                dict(zip(levels, maps, strict=True)),
                chosen_boxes[None],
                self.settings.mask_resolution // 2,
                image_index=chosen_images[None],
            )
            logits = self.network.mask_outputs(crops, tf.maximum(tf.gather(classes, chosen), 0))
            targets = mask_targets(
                chosen_boxes,
                tf.gather(instance, chosen),
                batch["cropped_gt_masks"],
                chosen_images,
                tf.gather(gt_index, chosen),
                resolution=self.settings.mask_resolution,
            )
            return logits, targets

        return classes > 0, forward


def _last_not_finite(gradients: list[tf.Tensor]) -> tf.Tensor:
    """Return the index, int64 scalar, of the last gradient with a value that isn't finite, -1 if there is none."""
    finite = tf.stack([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    indices = tf.range(len(gradients), dtype=tf.int64)
    return tf.reduce_max(tf.where(finite, tf.constant(-1, tf.int64), indices))
