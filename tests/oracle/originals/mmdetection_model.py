"""Mask R-CNN of MMDetection 3.3.0, its own code and configs."""

from __future__ import annotations

from pathlib import Path

import mmdet
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData
from tests.oracle.originals.interface import BoxesOfImages, Found
from torch import nn

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs" / "mask_rcnn"
CLASSES = 80


class MmdetectionModel:
    """See `interface.Original`.

    Args:
        config: name of a file in MMDetection's configs/mask_rcnn.
    """

    suffix = ".pth"
    has_background_last = True

    def __init__(self, config: str) -> None:
        register_all_modules()
        self._config = Config.fromfile(CONFIGS / config)
        self._config.model.backbone.init_cfg = None
        self.module = MODELS.build(self._config.model).eval()
        heads = self.module.roi_head
        self.class_layers: tuple[nn.Module, nn.Module, nn.Module] = (
            heads.bbox_head.fc_cls,
            heads.bbox_head.fc_reg,
            heads.mask_head.conv_logits,
        )

    def normalized(self, pixels: np.ndarray) -> torch.Tensor:
        images = [torch.from_numpy(one[..., ::-1].copy()).permute(2, 0, 1) for one in pixels]  # read as BGR
        return self.module.data_preprocessor({"inputs": images, "data_samples": None})["inputs"]

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        return list(self.module.backbone(images))

    def pyramid(self, stages: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(self.module.neck(tuple(stages)))

    def rpn(self, maps: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        logits, deltas = self.module.rpn_head(tuple(maps))
        return list(logits), list(deltas)

    def decoded(self, deltas: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        head = self.module.rpn_head
        number = deltas[0].shape[0]
        priors = torch.cat(head.prior_generator.grid_priors([one.shape[-2:] for one in deltas], device="cpu"))
        # As in models/dense_heads/rpn_head.py:176-178.
        flat = torch.cat([one.permute(0, 2, 3, 1).reshape(number, -1, 4) for one in deltas], dim=1)
        return torch.stack([head.bbox_coder.decode(priors, one, max_shape=size) for one in flat])

    def proposals(self, logits: list[torch.Tensor], deltas: list[torch.Tensor], size: tuple[int, int]) -> BoxesOfImages:
        found = self.module.rpn_head.predict_by_feat(
            logits, deltas, batch_img_metas=[_meta(size)] * len(logits[0]), cfg=self.module.test_cfg.rpn
        )
        return [one.bboxes for one in found]

    def pooled(self, maps: list[torch.Tensor], boxes: BoxesOfImages, size: tuple[int, int], side: int) -> torch.Tensor:
        heads = self.module.roi_head
        extractor = heads.bbox_roi_extractor if side == 7 else heads.mask_roi_extractor
        images = torch.cat([torch.full((len(one), 1), float(i)) for i, one in enumerate(boxes)])
        return extractor(tuple(maps[: extractor.num_inputs]), torch.cat([images, torch.cat(boxes)], dim=1))

    def box_outputs(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.module.roi_head.bbox_head(pooled)

    def mask_outputs(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.module.roi_head.mask_head(pooled)

    def detect(self, maps: list[torch.Tensor], proposals: BoxesOfImages, size: tuple[int, int]) -> list[Found]:
        results = [InstanceData(bboxes=one, scores=torch.ones(len(one))) for one in proposals]
        samples = [DetDataSample(metainfo=_meta(size)) for _ in proposals]
        return [
            Found(one.bboxes.numpy(), one.labels.numpy() + 1, one.scores.numpy(), one.masks.numpy())
            for one in self.module.roi_head.predict(tuple(maps), results, samples, rescale=True)
        ]

    def save(self, path: Path) -> None:
        """Write the file as tools/model_converters/publish_model.py does: with the config as text, and not a zip."""
        meta = {"cfg": self._config.pretty_text, "dataset_meta": {"classes": _names()}, "epoch": 12, "iter": 87960}
        content = {"meta": meta, "state_dict": self.module.state_dict()}
        torch.save(content, path, _use_new_zipfile_serialization=False)


def _meta(size: tuple[int, int]) -> dict[str, object]:
    return {
        "img_shape": size, "ori_shape": size, "pad_shape": size, "batch_input_shape": size,
        "scale_factor": (1.0, 1.0),
    }  # fmt: skip


def _names() -> tuple[str, ...]:
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO["classes"]
