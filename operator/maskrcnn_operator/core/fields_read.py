"""Fields of the merged experiment that can change the result of a step. The fingerprint reads this.

Names are those of Python; ``data_config.x`` and ``maskrcnn_config.x`` for the two parts. Each field says beside its
declaration what it is read for (:mod:`maskrcnn_trainer.spec.purposes`), the trainer's table of tasks says what each
task reads the spec for; the rules between them, which depend on a step's options and on other fields, stand here.

They are those of version 2. Version 1 differs from them by :func:`fields_read_by_version_1`, and never changes.
"""

from __future__ import annotations

from maskrcnn_operator.api.experiment import Step
from maskrcnn_operator.api.tasks import Export, Train
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.purposes import Purpose, Purposes, fields_for
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS

Fields = frozenset[str]

SHUFFLING = frozenset({"data_config.shuffle_buffer_size"})
"""Fields that version 1 also has of a training."""
AUGMENTATION = frozenset({"data_config.augment_input_data", "data_config.augmentation"})
"""Fields that version 1 also has, with those of SHUFFLING, of a calibration on records, which reads none of them."""
SEED = frozenset({"seed"})
"""Fields that version 1 lacks of a calibration on images."""


def fields_read(step: Step, spec: ExperimentSpec | None) -> Fields:
    """Return the fields of the merged spec on which a step's result depends; none for a task that reads no spec."""
    if spec is None:
        return frozenset()
    fields = fields_for(ExperimentSpec, _purposes(step))
    if isinstance(step.task, Train):
        return fields - _without_effect(spec, best=step.task.output == "best")
    return fields


def _purposes(step: Step) -> Purposes:
    """Return what a step reads the spec for, with its options, as far as it decides the result."""
    entry = TASKS[step.task_name]
    if isinstance(step.task, Train) and step.task.output == "best":
        return entry.all_reads
    if calibrates_on_records(step):
        return entry.all_reads
    if calibrates_on_images(step):
        return entry.all_reads - {Purpose.CALIBRATION_RECORDS}
    return entry.reads


def fields_read_by_version_1(step: Step, spec: ExperimentSpec | None) -> Fields:
    """Return the fields that version 1 of the fingerprint has of a step."""
    fields = fields_read(step, spec)
    if isinstance(step.task, Train):
        return fields | SHUFFLING
    if calibrates_on_images(step):
        return fields - SEED
    return fields | SHUFFLING | AUGMENTATION if calibrates_on_records(step) else fields


def calibrates_on_images(step: Step) -> bool:
    """Return whether a step is an INT8 export that draws its images from a directory."""
    task = step.task
    return isinstance(task, Export) and task.data_type == "int8" and task.calibration.image_dir is not None


def calibrates_on_records(step: Step) -> bool:
    """Return whether a step is an INT8 export that draws its images from the records of the training."""
    task = step.task
    return isinstance(task, Export) and task.data_type == "int8" and task.calibration.image_dir is None


def _without_effect(spec: ExperimentSpec, *, best: bool) -> Fields:
    """Fields that other fields switch off: numEpochs wins over totalSteps, warm-up of 0 steps has no rate, ..."""
    off: set[str] = set()
    if spec.num_epochs:
        off.add("total_steps")
    elif not best or spec.num_steps_per_eval:
        off.add("num_examples_per_epoch")
    if not spec.warmup_steps:
        off.add("warmup_learning_rate")
    if spec.pruned_model_path:
        off.add("checkpoint")
    return frozenset(off)
