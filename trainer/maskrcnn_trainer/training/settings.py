"""Settings of a training step, from an experiment spec."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.training.roi_sampling import RoiSampling
from maskrcnn_trainer.training.schedule import Schedule

if TYPE_CHECKING:
    from maskrcnn_trainer.spec import ExperimentSpec


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training step; the names are those of the spec.

    Attributes:
        schedule: the learning rate.
        seed: of all random draws.
        momentum: of the optimizer, 0..1.
        l1_weight_decay: factor of the L1 decay, at least 0.
        l2_weight_decay: factor of the L2 decay, at least 0.
        global_gradient_clip_ratio: global norm to which gradients are clipped; 0 for no clipping.
        rpn_batch_size_per_im: anchors sampled for each image, part of the divisor of the RPN score loss.
        pre_nms_topn: largest number of anchors of a level that are decoded to proposals.
        post_nms_topn: proposals of each image.
        rpn_nms_threshold: a proposal whose IoU with a better one of its level is above this is dropped, 0..1.
        rpn_min_size: smallest side of a proposal in pixels of the padded image.
        sampling: of the RoIs.
        mask_resolution: side of a predicted mask; pooled features have half of it for masks, a quarter for boxes.
        rpn_box_loss_weight: weight of the RPN box loss.
        fast_rcnn_box_loss_weight: weight of the box loss.
        mrcnn_weight_loss_mask: weight of the mask loss.
    """

    schedule: Schedule
    seed: int = 123
    momentum: float = 0.9
    l1_weight_decay: float = 0.0
    l2_weight_decay: float = 0.0
    global_gradient_clip_ratio: float = 0.0
    rpn_batch_size_per_im: int = 256
    pre_nms_topn: int = 2000
    post_nms_topn: int = 1000
    rpn_nms_threshold: float = 0.7
    rpn_min_size: float = 0.0
    sampling: RoiSampling = field(default_factory=RoiSampling)
    mask_resolution: int = 28
    rpn_box_loss_weight: float = 1.0
    fast_rcnn_box_loss_weight: float = 1.0
    mrcnn_weight_loss_mask: float = 1.0

    @classmethod
    def from_spec(
        cls, spec: ExperimentSpec, *, architecture: Architecture | None = None, ranks: int = 1
    ) -> TrainSettings:
        """Return the settings of a training.

        Args:
            spec: of the run.
            architecture: of the network; None for that of ``spec``.
            ranks: number of processes, by which all rates are multiplied with ``scaleLearningRate``.
        """
        model = spec.maskrcnn_config
        architecture = Architecture.from_spec(spec) if architecture is None else architecture
        return cls(
            schedule=Schedule.from_spec(spec, factor=float(ranks) if spec.scale_learning_rate else 1.0),
            seed=spec.seed,
            momentum=spec.momentum,
            l1_weight_decay=spec.l1_weight_decay,
            l2_weight_decay=spec.l2_weight_decay,
            global_gradient_clip_ratio=spec.global_gradient_clip_ratio,
            rpn_batch_size_per_im=model.rpn_batch_size_per_im,
            pre_nms_topn=model.train_rpn_pre_nms_topn,
            post_nms_topn=model.train_rpn_post_nms_topn,
            rpn_nms_threshold=model.train_rpn_nms_threshold,
            rpn_min_size=model.rpn_min_size,
            sampling=RoiSampling(
                batch_size_per_im=model.batch_size_per_im,
                fg_fraction=model.fg_fraction,
                fg_thresh=model.fg_thresh,
                bg_thresh_hi=model.bg_thresh_hi,
                bg_thresh_lo=model.bg_thresh_lo,
                bbox_reg_weights=architecture.bbox_reg_weights,
            ),
            mask_resolution=architecture.mrcnn_resolution,
            rpn_box_loss_weight=model.rpn_box_loss_weight,
            fast_rcnn_box_loss_weight=model.fast_rcnn_box_loss_weight,
            mrcnn_weight_loss_mask=model.mrcnn_weight_loss_mask,
        )
