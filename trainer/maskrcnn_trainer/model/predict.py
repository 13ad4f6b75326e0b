"""Inference with the whole network: from images to detections with masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from maskrcnn_trainer.model.anchors import anchors_per_level, generate_anchors
from maskrcnn_trainer.model.architecture import CANDIDATE_LIMIT, Architecture
from maskrcnn_trainer.model.detections import detect, most_candidates
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.proposals import propose
from maskrcnn_trainer.model.roi_align import roi_align
from maskrcnn_trainer.task.device import index_dtype

if TYPE_CHECKING:
    from maskrcnn_trainer.spec import ExperimentSpec


@dataclass(frozen=True)
class InferenceSettings:
    """Settings of proposals and suppression at inference; they are not part of a model file.

    Attributes:
        pre_nms_topn: largest number of anchors of a level that are decoded.
        post_nms_topn: proposals of each image.
        rpn_nms_threshold: a proposal whose IoU with a better one of its level is above this is dropped, 0..1.
        nms_threshold: a box whose IoU with a better one of its class is above this is dropped, 0..1.
        detections_per_image: D, detections of each image.
        rpn_min_size: smallest side of a proposal in pixels of the padded image; the architecture may have a larger one.
        score_threshold: a pair of box and class with a score of at most this is dropped, 0..1.
        candidate_limit: largest number of such pairs of an image that enter suppression, at least 1; None for all.
    """

    pre_nms_topn: int = 1000
    post_nms_topn: int = 1000
    rpn_nms_threshold: float = 0.7
    nms_threshold: float = 0.5
    detections_per_image: int = 100
    rpn_min_size: float = 0.0
    score_threshold: float = 0.0
    candidate_limit: int | None = CANDIDATE_LIMIT

    @classmethod
    def from_spec(cls, spec: ExperimentSpec, architecture: Architecture) -> InferenceSettings:
        """Return the settings of an experiment spec, whose absent fields follow the model file.

        Args:
            spec: the experiment.
            architecture: of the model file.
        """
        config = spec.maskrcnn_config
        chosen = Architecture.from_spec(spec, model=architecture)
        return cls(
            pre_nms_topn=config.test_rpn_pre_nms_topn,
            post_nms_topn=config.test_rpn_post_nms_topn,
            rpn_nms_threshold=config.test_rpn_nms_threshold,
            nms_threshold=config.test_nms,
            detections_per_image=config.test_detections_per_image,
            rpn_min_size=config.rpn_min_size,
            score_threshold=chosen.score_threshold,
            candidate_limit=chosen.candidate_limit,
        )

    def candidates(self, boxes: int, classes: int) -> int:
        """Return the number of pairs of box and class of an image that enter suppression, see `most_candidates`."""
        return most_candidates(boxes, classes, self.candidate_limit, self.score_threshold)


class PaddedDetections(NamedTuple):
    """Detections of a batch of B images, padded to D each, best first; missing ones have score 0.

    They are later converted to :class:`~maskrcnn_trainer.detector.interface.Detections`, one for each image.
    """

    boxes: tf.Tensor
    """float32 [B, D, 4], y1 x1 y2 x2 in pixels of the padded image."""
    classes: tf.Tensor
    """int32 [B, D], model ids from 1; 0 for a missing detection."""
    scores: tf.Tensor
    """float32 [B, D], 0..1."""
    mask_logits: tf.Tensor
    """float32 [B, D, m, m], m = mrcnn_resolution, of the detected class within its box; > 0 inside the object."""


def predict(
    network: MaskRCNN, images: tf.Tensor, settings: InferenceSettings, *, compiled: bool = False
) -> PaddedDetections:
    """Detect and segment objects. The function has no side effects, so ``tf.function`` can trace it.

    Args:
        network: the network; its batch norms use their stored statistics.
        images: float32 [B, H, W, 3] of static shape, normalized; H and W are multiples of 2^max_level.
        settings: of proposals and suppression.
        compiled: whether the caller is traced for XLA (``jit_compile=True``).
    """
    architecture = network.architecture
    batch, height, width = (int(side) for side in images.shape[:3])
    image_size = (height, width)
    features, logits, deltas = network.feature_outputs(images, training=False)
    proposals, proposal_scores = propose(
        logits,
        deltas,
        generate_anchors(architecture, image_size),
        anchors_per_level(architecture, image_size),
        image_size,
        pre_nms_topn=settings.pre_nms_topn,
        post_nms_topn=settings.post_nms_topn,
        nms_threshold=settings.rpn_nms_threshold,
        min_size=max(settings.rpn_min_size, architecture.least_proposal_side),
        clip_small_deltas=architecture.clip_small_deltas,
        rank_by_sigmoid=architecture.rank_by_sigmoid,
        compiled=compiled,
    )

    def crops(boxes: tf.Tensor, size: int) -> tf.Tensor:
        cropped = roi_align(
            features,
            boxes,
            size,
            architecture.min_level,
            architecture.highest_roi_level,
            sampling_ratio=architecture.roi_sampling_ratio,
            aligned=architecture.roi_aligned,
            compiled=compiled,
        )
        return tf.reshape(cropped, (-1, size, size, cropped.shape[-1]))

    proposals_per_image = settings.post_nms_topn
    classes = architecture.num_classes
    class_logits, box_deltas = network.box_outputs(crops(proposals, architecture.mrcnn_resolution // 4))
    boxes, found_classes, scores = detect(
        tf.reshape(class_logits, (batch, proposals_per_image, classes)),
        tf.reshape(box_deltas, (batch, proposals_per_image, classes, 4)),
        proposals,
        proposal_scores,
        image_size,
        architecture.bbox_reg_weights,
        settings.detections_per_image,
        settings.nms_threshold,
        score_threshold=settings.score_threshold,
        candidate_limit=settings.candidate_limit,
        least_side=architecture.least_detection_side,
        clip_small_deltas=architecture.clip_small_deltas,
        compiled=compiled,
    )
    side = architecture.mrcnn_resolution
    masks = network.mask_outputs(crops(boxes, side // 2), tf.reshape(tf.cast(found_classes, index_dtype()), (-1,)))
    return PaddedDetections(
        boxes, found_classes, scores, tf.reshape(masks, (batch, settings.detections_per_image, side, side))
    )
