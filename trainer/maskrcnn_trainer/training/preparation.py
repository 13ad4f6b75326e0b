"""Opening and checking the data of a training before the first step."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from maskrcnn_trainer.data.categories import Categories, compare_categories, require_agreement
from maskrcnn_trainer.data.class_map import ClassMap, class_map_for
from maskrcnn_trainer.data.identity import records_digest
from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.data.summary import RecordSummary, record_summary
from maskrcnn_trainer.evaluation.validation_data import ValidationData, open_validation
from maskrcnn_trainer.spec import ExperimentSpec, StepPlan, notes, other_epoch_length, plan_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Records, classes, and length of a training.

    Attributes:
        records: the training records.
        records_digest: of the training records.
        class_map: mapping between the category ids of the data and the classes of the model, with names.
        plan: steps, epochs, and evaluations.
        validation: records and annotations of the evaluations.
    """

    records: RecordIndex
    records_digest: str
    class_map: ClassMap
    plan: StepPlan
    validation: ValidationData


def prepare_data(spec: ExperimentSpec, *, ranks: int) -> TrainingData:
    """Open and check the training and validation data.

    Args:
        spec: of the run.
        ranks: number of processes.

    Raises:
        InvalidInput: a set of shards is incomplete, there is no object, images or objects have wrong values or no
            masks, the categories of training and validation contradict each other, class ids do not match
            ``numClasses``, or the validation data cannot be evaluated (see :func:`open_validation`).
    """
    config = spec.data_config
    records = index_records(str(config.training_file_pattern))
    summary = record_summary(records)
    summary.require_sound_images("trainingFilePattern")
    summary.require_sound_objects()
    summary.require_masks()
    summary.require_objects(skip_crowd=config.skip_crowd_during_training)
    if remark := summary.flat_remark():
        log.warning("%s", remark)
    validation = open_validation(spec)
    names = _compared_categories(summary, validation)
    class_map = class_map_for(names, validation.ground_truth.category_names, config.num_classes)
    plan = plan_steps(spec, num_records=len(records), ranks=ranks)
    if other_length := other_epoch_length(spec, num_records=len(records), ranks=ranks):
        log.warning("%s", other_length)
    known = set(notes(spec))
    for note in notes(spec, plan):
        # If the spec gives epochs, the length in steps is known only now.
        if note not in known:
            log.warning("%s", note)
    log.info(
        "Images: %d, objects: %d, classes: %d; steps: %d, images per step: %d, epochs: %d, steps per evaluation: %d",
        len(records),
        int(np.sum(summary.num_instances)),
        len(summary.class_ids),
        plan.total_steps,
        spec.train_batch_size * ranks,
        plan.num_epochs,
        plan.steps_per_eval,
    )
    return TrainingData(records, records_digest(records), class_map, plan, validation)


def _compared_categories(summary: RecordSummary, validation: ValidationData) -> dict[int, str]:
    """Compare the categories of training and validation, and return those of the training records.

    A name that no record has is "".

    Raises:
        InvalidInput: the categories contradict each other, or have nothing in common.
    """
    sets = [Categories(shard_set, names) for shard_set, names in summary.categories.items()]
    require_agreement([*sets, validation.categories])
    names: dict[int, set[str]] = {}
    for one in sets:
        for number, found in one.names.items():
            names.setdefault(number, set()).update(found)
    compare_categories(Categories("the training records", names), validation.categories, validation.evaluated)
    return {number: min(found, default="") for number, found in names.items()}
