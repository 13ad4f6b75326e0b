"""What training knows of its data before the first step."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from maskrcnn_trainer.data.class_map import ClassMap, class_map_for
from maskrcnn_trainer.data.coco import load_coco
from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.spec import ExperimentSpec, StepPlan, notes, other_epoch_length, plan_steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Records, classes and the length of a training.

    Attributes:
        records: the training records.
        class_map: category ids of the data to the model's classes, and their names.
        plan: steps, epochs, evaluations.
    """

    records: RecordIndex
    class_map: ClassMap
    plan: StepPlan


def prepare_data(spec: ExperimentSpec, *, ranks: int) -> TrainingData:
    """Opens and checks the training data.

    Raises:
        InvalidInput: a set of shards is incomplete, objects have no masks, class ids do not fit ``numClasses``.
    """
    config = spec.data_config
    records = index_records(str(config.training_file_pattern))
    summary = record_summary(records)
    summary.require_masks()
    names = load_coco(str(config.val_json_file)).categories
    class_map = class_map_for(set(summary.class_ids), names, config.num_classes)
    plan = plan_steps(spec, num_records=len(records), ranks=ranks)
    if other_length := other_epoch_length(spec, num_records=len(records), ranks=ranks):
        log.warning("%s", other_length)
    known = set(notes(spec))
    for note in notes(spec, plan):
        # The length in steps is known only now where the spec gives epochs.
        if note not in known:
            log.warning("%s", note)
    log.info(
        "%d training images with %d objects of %d classes; %d steps of %d images (%d epochs), evaluated every %d steps",
        len(records),
        int(np.sum(summary.num_instances)),
        len(summary.class_ids),
        plan.total_steps,
        spec.train_batch_size * ranks,
        plan.num_epochs,
        plan.steps_per_eval,
    )
    return TrainingData(records, class_map, plan)
