"""Mask R-CNN as Detectron2 (commit 02b5c4e2) computes it, on torchvision's operators; no registry has Detectron2.

Lines are those of ``detectron2/``. Layers have Detectron2's names.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from tests.oracle.originals.interface import BoxesOfImages, Found
from torch import nn
from torchvision.ops import batched_nms, roi_align
from torchvision.ops.misc import FrozenBatchNorm2d

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
LARGEST_DELTA = math.log(1000 / 16)
CLASSES = 80


@dataclass(frozen=True)
class Settings:
    """Settings in which Detectron2's models differ.

    Attributes:
        depth: of the ResNet.
        stride_in_1x1: RESNETS.STRIDE_IN_1X1.
        mean: PIXEL_MEAN, in the order of the model's channels.
        deviation: PIXEL_STD.
        is_bgr: INPUT.FORMAT is BGR.
        aligned: POOLER_TYPE is ROIAlignV2.
        sampling_ratio: POOLER_SAMPLING_RATIO.
    """

    depth: int = 50
    stride_in_1x1: bool = True
    mean: tuple[float, float, float] = (103.530, 116.280, 123.675)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)
    is_bgr: bool = True
    aligned: bool = True
    sampling_ratio: int = 0


class ConvNorm(nn.Conv2d):
    """Convolution without bias, with a frozen batch norm ``norm``."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, side, stride, side // 2, bias=False)
        self.norm = FrozenBatchNorm2d(outputs, eps=1e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(super().forward(x))


class Block(nn.Module):
    """BottleneckBlock of modeling/backbone/resnet.py."""

    def __init__(self, inputs: int, width: int, stride: int, stride_in_1x1: bool) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = ConvNorm(inputs, width, 1, first)
        self.conv2 = ConvNorm(width, width, 3, second)
        self.conv3 = ConvNorm(width, 4 * width, 1)
        self.shortcut = ConvNorm(inputs, 4 * width, 1, stride) if inputs != 4 * width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def _backbone(settings: Settings) -> nn.ModuleDict:
    parts: dict[str, nn.Module] = {"stem": nn.ModuleDict({"conv1": ConvNorm(3, 64, 7, 2)})}
    inputs = 64
    for stage, count in enumerate(BLOCKS[settings.depth]):
        width = 64 * 2**stage
        blocks = []
        for index in range(count):
            stride = 2 if stage and index == 0 else 1
            blocks.append(Block(inputs, width, stride, settings.stride_in_1x1))
            inputs = 4 * width
        parts[f"res{stage + 2}"] = nn.Sequential(*blocks)
    whole: dict[str, nn.Module] = {"bottom_up": nn.ModuleDict(parts)}
    for level in range(2, 6):
        whole[f"fpn_lateral{level}"] = nn.Conv2d(256 * 2 ** (level - 2), 256, 1)
        whole[f"fpn_output{level}"] = nn.Conv2d(256, 256, 3, padding=1)
    return nn.ModuleDict(whole)


def _heads() -> nn.ModuleDict:
    masks: dict[str, nn.Module] = {f"mask_fcn{i}": nn.Conv2d(256, 256, 3, padding=1) for i in range(1, 5)}
    masks |= {"deconv": nn.ConvTranspose2d(256, 256, 2, 2), "predictor": nn.Conv2d(256, CLASSES, 1)}
    return nn.ModuleDict(
        {
            "box_head": nn.ModuleDict({"fc1": nn.Linear(256 * 49, 1024), "fc2": nn.Linear(1024, 1024)}),
            "box_predictor": nn.ModuleDict(
                {"cls_score": nn.Linear(1024, CLASSES + 1), "bbox_pred": nn.Linear(1024, 4 * CLASSES)}
            ),
            "mask_head": nn.ModuleDict(masks),
        }
    )


class Detectron2Model:
    """See `interface.Original`."""

    suffix = ".pkl"
    has_background_last = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        rpn = {
            "conv": nn.Conv2d(256, 256, 3, padding=1),
            "objectness_logits": nn.Conv2d(256, 3, 1),
            "anchor_deltas": nn.Conv2d(256, 12, 1),
        }
        self.module = nn.ModuleDict(
            {
                "backbone": _backbone(settings),
                "proposal_generator": nn.ModuleDict({"rpn_head": nn.ModuleDict(rpn)}),
                "roi_heads": _heads(),
            }
        ).eval()
        self._backbone = self.module["backbone"]
        self._rpn = self.module["proposal_generator"]["rpn_head"]
        self._heads = self.module["roi_heads"]
        predictor = self._heads["box_predictor"]
        self.class_layers: tuple[nn.Module, nn.Module, nn.Module] = (
            predictor["cls_score"],
            predictor["bbox_pred"],
            self._heads["mask_head"]["predictor"],
        )

    def normalized(self, pixels: np.ndarray) -> torch.Tensor:
        channels = pixels[..., ::-1] if self._settings.is_bgr else pixels
        images = torch.from_numpy(np.ascontiguousarray(channels)).permute(0, 3, 1, 2).float()
        mean, deviation = (
            torch.tensor(values)[:, None, None] for values in (self._settings.mean, self._settings.deviation)
        )
        return (images - mean) / deviation

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        body = self._backbone["bottom_up"]
        x = F.max_pool2d(F.relu(body["stem"]["conv1"](images)), 3, 2, 1)  # modeling/backbone/resnet.py:351-358
        stages = []
        for level in range(2, 6):
            x = body[f"res{level}"](x)
            stages.append(x)
        return stages

    def pyramid(self, stages: list[torch.Tensor]) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = []
        above = None
        for level in range(5, 1, -1):
            inner = self._backbone[f"fpn_lateral{level}"](stages[level - 2])
            if above is not None:
                inner = inner + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = inner
            maps.insert(0, self._backbone[f"fpn_output{level}"](inner))
        return [*maps, F.max_pool2d(maps[-1], 1, 2)]

    def rpn(self, maps: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        hidden = [F.relu(self._rpn["conv"](one)) for one in maps]
        return [self._rpn["objectness_logits"](one) for one in hidden], [
            self._rpn["anchor_deltas"](one) for one in hidden
        ]

    def decoded(self, deltas: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        return torch.cat(self._decoded(deltas, size), dim=1)

    def _decoded(self, deltas: list[torch.Tensor], size: tuple[int, int]) -> list[torch.Tensor]:
        """Return the clipped boxes of each level."""
        return [
            clipped(apply_deltas(in_anchor_order(one, 4), anchors(level, one.shape[-2:]), (1, 1, 1, 1)), size)
            for level, one in enumerate(deltas, start=2)
        ]

    def proposals(self, logits: list[torch.Tensor], deltas: list[torch.Tensor], size: tuple[int, int]) -> BoxesOfImages:
        """Follow modeling/proposal_generator/proposal_utils.py:67-129 at test time."""
        boxes, scores, levels = [], [], []
        for level, (level_logits, level_boxes) in enumerate(zip(logits, self._decoded(deltas, size), strict=True)):
            flat = in_anchor_order(level_logits, 1)[..., 0]
            best, index = flat.topk(min(1000, flat.shape[1]), dim=1)
            boxes.append(torch.gather(level_boxes, 1, index[..., None].expand(-1, -1, 4)))
            scores.append(best)
            levels.append(torch.full((best.shape[1],), level))
        all_boxes, all_scores, all_levels = torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(levels)
        found = []
        for image_boxes, image_scores in zip(all_boxes, all_scores, strict=True):
            valid = (image_boxes[:, 2] > image_boxes[:, 0]) & (image_boxes[:, 3] > image_boxes[:, 1])
            kept = batched_nms(image_boxes[valid], image_scores[valid], all_levels[valid], 0.7)[:1000]
            found.append(image_boxes[valid][kept])
        return found

    def pooled(self, maps: list[torch.Tensor], boxes: BoxesOfImages, size: tuple[int, int], side: int) -> torch.Tensor:
        """Follow modeling/poolers.py and layers/roi_align.py."""
        all_boxes = torch.cat(boxes)
        images = torch.cat([torch.full((len(one), 1), float(i)) for i, one in enumerate(boxes)])
        area = (all_boxes[:, 2] - all_boxes[:, 0]) * (all_boxes[:, 3] - all_boxes[:, 1])
        levels = torch.floor(4 + torch.log2(torch.sqrt(area) / 224 + 1e-8)).clamp(2, 5)
        result = torch.zeros(len(all_boxes), 256, side, side)
        for level in range(2, 6):
            (index,) = torch.where(levels == level)
            rois = torch.cat([images[index], all_boxes[index]], dim=1)
            result[index] = roi_align(
                maps[level - 2], rois, side, 1 / 2**level, self._settings.sampling_ratio, self._settings.aligned
            )
        return result

    def box_outputs(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        head, predictor = self._heads["box_head"], self._heads["box_predictor"]
        hidden = F.relu(head["fc2"](F.relu(head["fc1"](pooled.flatten(1)))))
        return predictor["cls_score"](hidden), predictor["bbox_pred"](hidden)

    def mask_outputs(self, pooled: torch.Tensor) -> torch.Tensor:
        head = self._heads["mask_head"]
        x = pooled
        for i in range(1, 5):
            x = F.relu(head[f"mask_fcn{i}"](x))
        return head["predictor"](F.relu(head["deconv"](x)))

    def detect(self, maps: list[torch.Tensor], proposals: BoxesOfImages, size: tuple[int, int]) -> list[Found]:
        """Follow modeling/roi_heads/fast_rcnn.py:117-172, mask_head.py, and modeling/postprocessing.py."""
        logits, deltas = self.box_outputs(self.pooled(maps, proposals, size, 7))
        counts = [len(one) for one in proposals]
        found = []
        for image, (boxes, image_logits, image_deltas) in enumerate(
            zip(proposals, logits.split(counts), deltas.split(counts), strict=True)
        ):
            scores = image_logits.softmax(-1)[:, :-1]
            decoded = apply_deltas(image_deltas.view(len(boxes), -1, 4), boxes[:, None], (10, 10, 5, 5))
            decoded = clipped(decoded, size)
            row, column = torch.where(scores > 0.05)
            kept_boxes, kept_scores = decoded[row, column], scores[row, column]
            kept = batched_nms(kept_boxes, kept_scores, column, 0.5)[:100]
            result, classes = kept_boxes[kept], column[kept]
            one_map = [one[image : image + 1] for one in maps]
            masks = self.mask_outputs(self.pooled(one_map, [result], size, 14))
            probabilities = masks[torch.arange(len(kept)), classes].sigmoid()
            pasted = pasted_at_pixel_centers(probabilities, result, size) >= 0.5
            area = (result[:, 2] > result[:, 0]) & (result[:, 3] > result[:, 1])
            found.append(
                Found(
                    result[area].numpy(), (classes[area] + 1).numpy(), kept_scores[kept][area].numpy(),
                    pasted[area].numpy(),
                )
            )  # fmt: skip
        return found

    def save(self, path: Path) -> None:
        model = {name: value.numpy() for name, value in self.module.state_dict().items()}
        for i in range(5):  # as files of before 2021-05-17 hold them
            model[f"proposal_generator.anchor_generator.cell_anchors.{i}"] = cell_anchors(i + 2).numpy()
        with path.open("wb") as stream:
            pickle.dump({"model": model, "__author__": "Detectron2 Model Zoo"}, stream, protocol=4)


def in_anchor_order(values: torch.Tensor, width: int) -> torch.Tensor:
    """Return values [N, A * width, H, W] as [N, H * W * A, width]."""
    number, _, height, columns = values.shape
    return values.view(number, -1, width, height, columns).permute(0, 3, 4, 1, 2).reshape(number, -1, width)


def cell_anchors(level: int) -> torch.Tensor:
    """Return the anchors of a cell [3, 4] (modeling/anchor_generator.py:204-216)."""
    area = (8.0 * 2**level) ** 2
    anchors = []
    for ratio in (0.5, 1.0, 2.0):
        width = math.sqrt(area / ratio)
        height = ratio * width
        anchors.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(anchors)


def anchors(level: int, cells: tuple[int, int]) -> torch.Tensor:
    """Return the anchors [H * W * 3, 4] of a map with this number of cells (height, width)."""
    y, x = torch.meshgrid(*(torch.arange(side) * float(2**level) for side in cells), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shifts + cell_anchors(level)).reshape(-1, 4)


def apply_deltas(deltas: torch.Tensor, boxes: torch.Tensor, weights: tuple[float, ...]) -> torch.Tensor:
    """Return moved boxes (modeling/box_regression.py:77-116); shapes broadcast."""
    sides = boxes[..., 2:] - boxes[..., :2]
    centers = boxes[..., :2] + 0.5 * sides
    scaled = deltas / torch.tensor(weights, dtype=torch.float32)
    centers = scaled[..., :2] * sides + centers
    sides = torch.exp(scaled[..., 2:].clamp(max=LARGEST_DELTA)) * sides
    return torch.cat([centers - 0.5 * sides, centers + 0.5 * sides], dim=-1)


def clipped(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return boxes [..., 4] within an image of ``size`` (height, width)."""
    limits = torch.tensor([size[1], size[0], size[1], size[0]], dtype=torch.float32)
    return torch.minimum(boxes.clamp(min=0), limits)


def pasted_at_pixel_centers(masks: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return probabilities [n, H, W] of masks [n, m, m] (layers/mask_ops.py:50-64)."""
    result = torch.zeros(len(masks), *size)
    for i, (mask, (x1, y1, x2, y2)) in enumerate(zip(masks, boxes, strict=True)):
        y = (torch.arange(size[0]) + 0.5 - y1) / (y2 - y1) * 2 - 1
        x = (torch.arange(size[1]) + 0.5 - x1) / (x2 - x1) * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        result[i] = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
    return result
