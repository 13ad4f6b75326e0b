"""Fields of the merged experiment that can change the result of a step, as input of the fingerprint.

Names are those in Python, with ``data_config.x`` and ``maskrcnn_config.x`` for the two parts. The declaration of each
field lists the purposes for which it is read (:mod:`maskrcnn_trainer.spec.purposes`), and the two tables of tasks list
the purposes of each task. This module has the rules between fields.

The fields are those of version 2. :func:`fields_read_by_version_1` has those of version 1, which never change.
"""

from __future__ import annotations

from maskrcnn_operator.api.experiment import Step
from maskrcnn_trainer.spec.experiment import CHECKPOINT_OPTIONS, ExperimentSpec
from maskrcnn_trainer.spec.purposes import Purpose, Purposes, fields_for
from maskrcnn_trainer.spec.task_table import TASKS

Fields = frozenset[str]

SHUFFLING = frozenset({"data_config.shuffle_buffer_size"})
"""Fields that version 1 also covers for a training."""
AUGMENTATION = frozenset({"data_config.augment_input_data", "data_config.augmentation"})
"""Fields that version 1 also covers, with SHUFFLING, for a calibration on records, which reads none of them."""
SEED = frozenset({"seed"})
"""Fields that version 1 does not cover for a calibration on images."""


def fields_read(step: Step, spec: ExperimentSpec | None) -> Fields:
    """Return the fields of the merged spec on which a step's result depends; none for a task that reads no spec."""
    if spec is None:
        return frozenset()
    purposes = _purposes(step)
    return fields_for(ExperimentSpec, purposes) - _without_effect(spec, best=Purpose.BEST_CHECKPOINT in purposes)


def _purposes(step: Step) -> Purposes:
    """Return the purposes for which a step reads the spec with its options, as far as they change the result."""
    return TASKS[step.task_name].reads | step.kind.reads_by_option(step.task)


def fields_read_by_version_1(step: Step, spec: ExperimentSpec | None) -> Fields:
    """Return the fields of a step that version 1 of the fingerprint covers."""
    fields, purposes = fields_read(step, spec), _purposes(step)
    if Purpose.TRAINING in purposes:
        return fields | SHUFFLING
    if Purpose.CALIBRATION_RECORDS in purposes:
        return fields | SHUFFLING | AUGMENTATION
    return fields - SEED if Purpose.CALIBRATION in purposes else fields


def calibrates_on_images(step: Step) -> bool:
    """Return whether a step calibrates on images from a directory."""
    purposes = _purposes(step)
    return Purpose.CALIBRATION in purposes and Purpose.CALIBRATION_RECORDS not in purposes


def _without_effect(spec: ExperimentSpec, *, best: bool) -> Fields:
    """Return fields that other fields disable: numEpochs overrides totalSteps, 0 warm-up steps need no rate, ..."""
    off: set[str] = set()
    if spec.num_epochs:
        off.add("total_steps")
    elif not best or spec.num_steps_per_eval:
        off.add("num_examples_per_epoch")
    if not spec.warmup_steps:
        off.add("warmup_learning_rate")
    if spec.pruned_model_path:
        off |= {"checkpoint", *CHECKPOINT_OPTIONS}
    return frozenset(off)
