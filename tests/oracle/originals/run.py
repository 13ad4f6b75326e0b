"""Make a detector of a style in its original code, and write its weights and the values of all stages.

    python -m tests.oracle.originals.run STYLE PIXELS.npy DIR

PIXELS.npy has images of one size, uint8 [N, H, W, 3], RGB. Written to DIR: the weights as STYLE.pth or
STYLE.pkl, ``stages.npz`` with the values of every stage for the first images, each computed from the values before it,
and ``detections-N.npz`` for each image.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tests.oracle.originals.calibration import Calibration, randomize
from tests.oracle.originals.detectron2_model import Detectron2Model, Settings
from tests.oracle.originals.interface import BoxesOfImages, Original

STAGE_IMAGES = 2
"""Images whose stages are compared."""

LEVEL_SPREAD = (0.8, 1.0, 1.3, 1.7)
"""Spread of P2 to P5, ascending so that large boxes are among the proposals, too."""

CLASS_SPREAD = 2.0
"""Spread of the class logits."""

FEWEST_PAIRS = 60
"""Pairs of box and class above the threshold in the image with the fewest, by the background's mean logit: after
suppression some images have fewer detections than the limit of 100, and all have at least 20."""

RPN_SPREAD = 1.2
"""Spread of the RPN's logits. Scores of large logits are equal in float32, and boxes are then in an arbitrary order."""

THRESHOLD = 0.05
"""Of the scores, in all three projects."""

MASK_SPREAD = 2.0
"""Spread of the masks' logits."""

STEEPNESS = 8.0
"""Factor of the RPN's deltas with which many are beyond log(1000 / 16), where they are clipped."""

TORCHVISION_INPUT = {
    "mean": (123.675, 116.280, 103.530), "deviation": (58.395, 57.120, 57.375), "is_bgr": False,
}  # fmt: skip


def build(style: str) -> Original:
    """Return the model of a style, with initial weights."""
    if style == "torchvision":
        from tests.oracle.originals.torchvision_model import TorchvisionModel

        return TorchvisionModel(50)
    if style.startswith("mmdet-"):
        from tests.oracle.originals.mmdetection_model import MmdetectionModel

        name = {"mmdet-pytorch": "mask-rcnn_r50_fpn_1x_coco.py", "mmdet-caffe": "mask-rcnn_r101-caffe_fpn_1x_coco.py"}
        return MmdetectionModel(name[style])
    settings = {
        "detectron2": Settings(depth=101),
        "detectron2-torchvision": Settings(stride_in_1x1=False, **TORCHVISION_INPUT),
        "detectron2-d1compat": Settings(aligned=False, sampling_ratio=2),
    }
    return Detectron2Model(settings[style])


def calibrate(model: Original, pixels: np.ndarray, seed: int) -> None:
    """Give a model weights for images like these."""
    scores, deltas, masks = model.class_layers
    names = {layer: name for name, layer in model.module.named_modules()}
    spreads = {names[scores]: CLASS_SPREAD, names[masks]: MASK_SPREAD, names[deltas]: 1.0}
    for name in names.values():
        level = _level_of_output(name)
        if level is not None:
            spreads[name] = LEVEL_SPREAD[level]
        elif name.endswith(("cls_logits", "objectness_logits", "rpn_cls")):
            spreads[name] = RPN_SPREAD
        elif name.endswith(("rpn.head.bbox_pred", "anchor_deltas", "rpn_reg")):
            spreads[name] = 0.3
    randomize(model.module, seed)
    offsets = {names[masks]: torch.tensor([MASK_SPREAD])}  # most pixels are inside
    calibration = Calibration(model.module, spreads, offsets, seed)
    size = pixels.shape[1:3]
    maps = model.pyramid(model.stages(model.normalized(pixels)))
    proposals = model.proposals(*model.rpn(maps), size)
    logits, _ = model.box_outputs(model.pooled(maps, proposals, size, 7))
    background = scores.out_features - 1 if model.has_background_last else 0
    scores.bias.data[background] += background_shift(logits, background, [len(one) for one in proposals])
    model.mask_outputs(model.pooled(maps, [one[:50] for one in proposals], size, 14))
    calibration.remove()


def background_shift(logits: torch.Tensor, background: int, counts: list[int]) -> float:
    """Return the number to add to the background's logits, by bisection, for `FEWEST_PAIRS`."""
    low, high = 0.0, 30.0
    for _ in range(20):
        middle = (low + high) / 2
        shifted = logits.clone()
        shifted[:, background] += middle
        above = shifted.softmax(-1) > THRESHOLD
        above[:, background] = False
        fewest = min(int(one.sum()) for one in above.split(counts))
        low, high = (middle, high) if fewest > FEWEST_PAIRS else (low, middle)
    return low


def _level_of_output(name: str) -> int | None:
    """Return 0 to 3 for the last convolution of P2 to P5."""
    for level in range(4):
        if name in (
            f"backbone.fpn.layer_blocks.{level}.0", f"backbone.fpn_output{level + 2}", f"neck.fpn_convs.{level}.conv"
        ):  # fmt: skip
            return level
    return None


def chosen_boxes(proposals: torch.Tensor, size: tuple[int, int], seed: int) -> torch.Tensor:
    """Return boxes [n, 4] of all levels, away from the levels' bounds, and one across the image that is 8 px high."""
    height, width = size
    random = np.random.default_rng(seed)
    boxes = [[0.0, 0.4 * height, width, 0.4 * height + 8], [0.0, 0.0, width, height]]
    for low, high in ((8, 108), (116, 218), (230, 436), (456, math.inf)):
        found = 0
        while found < 16:
            x1, x2 = np.sort(random.uniform(0, width, 2))
            y1, y2 = np.sort(random.uniform(0, height, 2))
            if low < math.sqrt((x2 - x1) * (y2 - y1)) < high:
                boxes.append([x1, y1, x2, y2])
                found += 1
    sides = proposals[:, 2:] - proposals[:, :2]
    level = torch.log2(sides.prod(dim=1).sqrt() / 224)
    inside = (level - level.round()).abs() > 1e-3
    return torch.cat([torch.tensor(boxes, dtype=torch.float32), proposals[inside][:64]])


def stage_values(model: Original, pixels: np.ndarray) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the name and the values of each stage."""
    size = pixels.shape[1:3]
    stages = model.stages(model.normalized(pixels))
    yield from ((f"c{level}", one) for level, one in enumerate(stages, start=2))
    maps = model.pyramid(stages)
    yield from ((f"p{level}", one) for level, one in enumerate(maps, start=2))
    logits, deltas = model.rpn(maps)
    yield from ((f"rpn_logits{level}", one) for level, one in enumerate(logits, start=2))
    yield from ((f"rpn_deltas{level}", one) for level, one in enumerate(deltas, start=2))
    yield "decoded", model.decoded(deltas, size)
    yield "steepness", torch.tensor(STEEPNESS)
    yield "decoded_steep", model.decoded([STEEPNESS * one for one in deltas], size)
    proposals = model.proposals(logits, deltas, size)
    yield from ((f"proposals{i}", one) for i, one in enumerate(proposals))
    boxes: BoxesOfImages = [chosen_boxes(one, size, i) for i, one in enumerate(proposals)]
    yield from ((f"boxes{i}", one) for i, one in enumerate(boxes))
    pooled7, pooled14 = (model.pooled(maps, boxes, size, side) for side in (7, 14))
    yield "pooled7", pooled7
    yield "pooled14", pooled14
    class_logits, box_deltas = model.box_outputs(pooled7)
    yield "class_logits", class_logits
    yield "box_deltas", box_deltas
    yield "mask_logits", model.mask_outputs(pooled14)


def main(style: str, pixels_file: str, folder: str) -> None:
    """Write all files of a style."""
    pixels = np.load(pixels_file)
    model = build(style)
    output = Path(folder)
    with torch.no_grad():
        calibrate(model, pixels, seed=len(style))
        model.save(output / f"{style}{model.suffix}")
        values = {name: value.numpy() for name, value in stage_values(model, pixels[:STAGE_IMAGES])}
        np.savez(output / "stages.npz", **values)
        size = pixels.shape[1:3]
        for i, image in enumerate(pixels):
            maps = model.pyramid(model.stages(model.normalized(image[None])))
            (found,) = model.detect(maps, model.proposals(*model.rpn(maps), size), size)
            np.savez_compressed(
                output / f"detections-{i}.npz",
                boxes=found.boxes, classes=found.classes, scores=found.scores, masks=np.packbits(found.masks, axis=-1),
            )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
