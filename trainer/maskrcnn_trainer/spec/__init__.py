"""The experiment spec: types, defaults, checks, step arithmetic, and the original toolkit's prototxt. Pure Python."""

from __future__ import annotations

from maskrcnn_trainer.spec.data_config import Augmentation, DataConfig
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.maskrcnn_config import MaskRCNNConfig
from maskrcnn_trainer.spec.partial import PartialExperimentSpec, merge_experiment

__all__ = [
    "Augmentation",
    "DataConfig",
    "ExperimentSpec",
    "MaskRCNNConfig",
    "PartialExperimentSpec",
    "merge_experiment",
]
