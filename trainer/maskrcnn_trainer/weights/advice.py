"""Advice on fine-tuning a detector of another project: numbers of its own training from which a spec differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from maskrcnn_trainer.model.architecture import LARGEST_TOPK
from maskrcnn_trainer.weights.style import Style

if TYPE_CHECKING:
    from maskrcnn_trainer.spec import ExperimentSpec

RATE, IMAGES_PER_STEP = 0.02, 16
"""Learning rate of the original trainings, and the images per step that it is for.

The sources are Detectron2's configs/Base-RCNN-FPN.yaml; for MMDetection configs/_base_/schedules/schedule_1x.py, with 8
GPUs of 2 images; for torchvision references/detection/train.py, whose rate for other numbers of GPUs is in proportion.
"""

_FINE_TUNING = 0.1
_USUAL = (_FINE_TUNING / 4, 4 * _FINE_TUNING)
"""Learning rates, by that of the original training, about which there is nothing to say."""

SHORT_SIDE, LONG_SIDE = 800, 1333
"""Sides to which all originals resize images for a test: the short one, unless the long one would become longer."""

_IMAGE = (480, 640)
"""Height and width of a common image of COCO; its scale is compared, and that of a portrait of this size."""

_SAME_SCALE = 0.1


def fine_tuning_advice(style: Style, spec: ExperimentSpec, *, ranks: int) -> list[str]:
    """Return sentences for the log, one for each setting in which a spec differs from the detector's own training.

    Args:
        style: of the detector.
        spec: of the training that starts from it.
        ranks: number of processes.
    """
    return [
        *_learning_rate(spec, ranks),
        *_frozen_layers(style, spec),
        *_image_size(spec),
        *_limit_for_export(style, spec),
    ]


def _learning_rate(spec: ExperimentSpec, ranks: int) -> Iterator[str]:
    """Yield advice unless the rate is about a tenth of the original one, in proportion to the images per step."""
    images = spec.train_batch_size * ranks
    factor = ranks if spec.scale_learning_rate else 1
    original = RATE * images / IMAGES_PER_STEP / factor
    low, high = (share * original for share in _USUAL)
    if not low <= spec.init_learning_rate <= high:
        scaled = " (with scaleLearningRate)" if factor > 1 else ""
        yield (
            f"initLearningRate is {spec.init_learning_rate:g}; the original training used {RATE:g} for "
            f"{IMAGES_PER_STEP} images per step, which is {original:.2g} for {images}{scaled}, and fine-tuning usually "
            f"takes about a tenth of it, {_FINE_TUNING * original:.2g}"
        )


def _frozen_layers(style: Style, spec: ExperimentSpec) -> Iterator[str]:
    config = spec.maskrcnn_config
    if tuple(sorted(config.freeze_blocks)) != style.frozen_blocks:
        yield (
            f"maskrcnnConfig.freezeBlocks is {list(config.freeze_blocks)}; the original training froze "
            f"{list(style.frozen_blocks)}"
        )
    if not config.freeze_bn:
        yield (
            "maskrcnnConfig.freezeBn is false; the original training kept the statistics of the backbone's batch "
            "norms, and a few images per step estimate them badly"
        )
    if config.freeze_bn_affine is style.bn_affine_trained:
        yield (
            f"maskrcnnConfig.freezeBnAffine is {str(config.freeze_bn_affine).lower()}; the original training "
            f"{'trained' if style.bn_affine_trained else 'kept'} scale and offset of the backbone's batch norms"
        )


def _image_size(spec: ExperimentSpec) -> Iterator[str]:
    """Yield advice unless images of one orientation, at least, have about the original's scale."""
    height, width = spec.data_config.image_size
    short, long = _IMAGE
    original = min(SHORT_SIDE / short, LONG_SIDE / long)
    scales = [min(height / h, width / w) / original for h, w in (_IMAGE, _IMAGE[::-1])]
    nearest = min(scales, key=lambda scale: abs(scale - 1))
    if abs(nearest - 1) > _SAME_SCALE:
        yield (
            f"dataConfig.imageSize is {[height, width]}, which shows an image of {long}x{short} at {nearest:.2f} times "
            f"the original training's scale (a short side of {SHORT_SIDE} pixels, a long one of at most {LONG_SIDE:,}"
            "): [832, 1344] has about that scale for landscape images, and [1088, 1088] for both orientations"
        )


def _limit_for_export(style: Style, spec: ExperimentSpec) -> Iterator[str]:
    config = spec.maskrcnn_config
    pairs = config.test_rpn_post_nms_topn * (spec.data_config.num_classes - 1)
    if style.candidate_limit is None and config.test_candidate_limit is None and pairs > LARGEST_TOPK:
        yield (
            "maskrcnnConfig.testCandidateLimit is absent, and the original has no limit either; an export needs one, "
            f"of at most {LARGEST_TOPK}"
        )
