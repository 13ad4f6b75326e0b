"""Mask R-CNN of torchvision 0.14.1, its own code, as with the weights COCO_V1."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from tests.oracle.originals.interface import BoxesOfImages, Found
from torch import nn
from torchvision.models import resnet
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import boxes as box_ops
from torchvision.ops.misc import FrozenBatchNorm2d

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TorchvisionModel:
    """See `interface.Original`."""

    suffix = ".pth"
    has_background_last = False

    def __init__(self, depth: int) -> None:
        # As maskrcnn_resnet50_fpn(weights=COCO_V1) does (models/detection/mask_rcnn.py:480-502).
        self.module = MaskRCNN(_backbone(depth), 91).eval()
        self._depth = depth
        overwrite_eps(self.module, 0.0)
        heads = self.module.roi_heads
        self.class_layers: tuple[nn.Module, nn.Module, nn.Module] = (
            heads.box_predictor.cls_score,
            heads.box_predictor.bbox_pred,
            heads.mask_predictor.mask_fcn_logits,
        )

    def normalized(self, pixels: np.ndarray) -> torch.Tensor:
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        return list(self.module.backbone.body(images).values())

    def pyramid(self, stages: list[torch.Tensor]) -> list[torch.Tensor]:
        named = OrderedDict((str(i), stage) for i, stage in enumerate(stages))
        return list(self.module.backbone.fpn(named).values())

    def rpn(self, maps: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        return self.module.rpn.head(maps)

    def decoded(self, deltas: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        return box_ops.clip_boxes_to_image(self._decoded(deltas, size), size)

    def _decoded(self, deltas: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        number = deltas[0].shape[0]
        canvas = torch.zeros(number, 3, *size)
        anchors = self.module.rpn.anchor_generator(ImageList(canvas, [size] * number), deltas)
        logits = [one[:, ::4] for one in deltas]
        _, flat = concat_box_prediction_layers(logits, deltas)
        return self.module.rpn.box_coder.decode(flat, anchors).view(number, -1, 4)

    def proposals(self, logits: list[torch.Tensor], deltas: list[torch.Tensor], size: tuple[int, int]) -> BoxesOfImages:
        sizes = [one[0].numel() for one in logits]
        flat, _ = concat_box_prediction_layers(logits, deltas)
        boxes = self._decoded(deltas, size)
        return self.module.rpn.filter_proposals(boxes, flat, [size] * len(boxes), sizes)[0]

    def pooled(self, maps: list[torch.Tensor], boxes: BoxesOfImages, size: tuple[int, int], side: int) -> torch.Tensor:
        heads = self.module.roi_heads
        pool = heads.box_roi_pool if side == 7 else heads.mask_roi_pool
        return pool(self._named(maps), boxes, [size] * len(boxes))

    def _named(self, maps: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return OrderedDict(zip(("0", "1", "2", "3", "pool"), maps, strict=True))

    def box_outputs(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heads = self.module.roi_heads
        return heads.box_predictor(heads.box_head(pooled))

    def mask_outputs(self, pooled: torch.Tensor) -> torch.Tensor:
        heads = self.module.roi_heads
        return heads.mask_predictor(heads.mask_head(pooled))

    def detect(self, maps: list[torch.Tensor], proposals: BoxesOfImages, size: tuple[int, int]) -> list[Found]:
        found, _ = self.module.roi_heads(self._named(maps), proposals, [size] * len(proposals))
        return [
            Found(
                one["boxes"].numpy(),
                one["labels"].numpy(),
                one["scores"].numpy(),
                # The caller of the model chooses the pixels above 0.5.
                (paste_masks_in_image(one["masks"], one["boxes"], size)[:, 0] > 0.5).numpy(),
            )
            for one in found
        ]

    def save(self, path: Path) -> None:
        torch.save(self.module.state_dict(), path)
        faster = FasterRCNN(_backbone(self._depth), 91)
        names = set(faster.state_dict())
        faster.load_state_dict({name: value for name, value in self.module.state_dict().items() if name in names})
        torch.save(
            {"model": faster.state_dict(), "epoch": 25}, path.with_name("faster_rcnn.pth")
        )  # as training scripts do


def _backbone(depth: int) -> nn.Module:
    body = getattr(resnet, f"resnet{depth}")(norm_layer=FrozenBatchNorm2d)
    return _resnet_fpn_extractor(body, 3)
