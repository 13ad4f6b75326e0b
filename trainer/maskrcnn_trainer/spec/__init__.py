"""Experiment spec: types, defaults, checks, step arithmetic, and TAO Toolkit's prototxt. Pure Python."""

from __future__ import annotations

from maskrcnn_trainer.spec.data_config import Augmentation, DataConfig
from maskrcnn_trainer.spec.errors import Problem, SpecError
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.importing import Imported, import_spec
from maskrcnn_trainer.spec.maskrcnn_config import MaskRCNNConfig
from maskrcnn_trainer.spec.notes import notes, require_paths
from maskrcnn_trainer.spec.parsing import parse_spec
from maskrcnn_trainer.spec.partial import PartialExperimentSpec, merge_experiment
from maskrcnn_trainer.spec.reading import load_spec, load_yaml, read_spec
from maskrcnn_trainer.spec.steps import StepPlan, other_epoch_length, plan_steps

__all__ = [
    "Augmentation",
    "DataConfig",
    "ExperimentSpec",
    "Imported",
    "MaskRCNNConfig",
    "PartialExperimentSpec",
    "Problem",
    "SpecError",
    "StepPlan",
    "import_spec",
    "load_spec",
    "load_yaml",
    "merge_experiment",
    "notes",
    "other_epoch_length",
    "parse_spec",
    "plan_steps",
    "read_spec",
    "require_paths",
]
