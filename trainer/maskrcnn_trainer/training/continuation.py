"""Finding the point from which a training continues on all ranks: its newest checkpoint, or step 0."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskrcnn_trainer.data.class_map import class_map_of
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.shared.fingerprints import fingerprint_of
from maskrcnn_trainer.spec import ExperimentSpec, StepPlan, plan_steps
from maskrcnn_trainer.task.workspace import manifest_paths
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.position import DataPosition, resumed_position
from maskrcnn_trainer.training.preparation import TrainingData
from maskrcnn_trainer.training.resume import (
    absent_values,
    changed_ranks,
    check_resumable,
    check_same_classes,
    check_same_records,
    has_same_records,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Continuation:
    """Point from which a training continues.

    Attributes:
        checkpoint: None on ranks other than 0, and if the training starts at step 0.
        spec: of the run, with the checkpoint's values for some absent fields.
        position: in the data.
        plan: steps of the whole training, including those done.
    """

    checkpoint: ModelFile | None
    spec: ExperimentSpec
    position: DataPosition
    plan: StepPlan


def find_continuation(
    spec: ExperimentSpec,
    data: TrainingData,
    context: DistributedContext,
    store: CheckpointStore | None,
    fingerprints: Sequence[str],
) -> Continuation:
    """Open the newest checkpoint, check that this run may continue from it, and log differences (collective).

    Args:
        spec: of this run.
        data: of this run.
        context: the worker group.
        store: of rank 0; None on the others.
        fingerprints: of the step of the experiment, the recorded one last; empty for a run without an operator.

    Raises:
        InvalidInput: the checkpoint belongs to another experiment, to other classes or records, to another order of the
            records, or is past the last step; or no checkpoint can be opened (see :meth:`CheckpointStore.newest`).
    """
    # A directory that a run of the operator has claimed has no foreign files.
    checkpoint = store.newest(refuse_unreadable=not fingerprints) if store is not None else None
    spec = _with_absent_values(spec, checkpoint, context)
    found = _check_resumable(checkpoint, spec, data, context.size, fingerprints) if checkpoint else DataPosition()
    position: DataPosition = context.broadcast_object(found)
    return Continuation(checkpoint, spec, position, _remaining_plan(spec, data, position, context.size))


def saved_experiment(spec: ExperimentSpec) -> dict[str, Any]:
    """Return a spec in the form stored in checkpoints: camelCase, with the paths of a manifest."""
    experiment: dict[str, Any] = manifest_paths(spec.model_dump(mode="json", by_alias=True, exclude_none=True))
    return experiment


def _with_absent_values(
    spec: ExperimentSpec, checkpoint: ModelFile | None, context: DistributedContext
) -> ExperimentSpec:
    """Return the spec with the checkpoint's values for absent fields, the same on every rank."""
    values = context.broadcast_object(absent_values(spec, checkpoint.experiment) if checkpoint is not None else None)
    if not values:
        return spec
    config = spec.maskrcnn_config.model_copy(update=values)
    if checkpoint is not None:
        log.warning(
            "maskrcnnConfig.freezeBlocks is absent: it stays %s, as in the checkpoint of step %d; a new training "
            "would use %s",
            list(config.freeze_blocks),
            checkpoint.step,
            list(spec.maskrcnn_config.freeze_blocks),
        )
    return spec.model_copy(update={"maskrcnn_config": config})


def _check_resumable(
    checkpoint: ModelFile, spec: ExperimentSpec, data: TrainingData, ranks: int, fingerprints: Sequence[str]
) -> DataPosition:
    """Return the position of a checkpoint in the data; log the differences between it and this run (rank 0).

    Raises:
        InvalidInput: the checkpoint belongs to another experiment, or to other classes, records, or another order.
    """
    records = len(data.records)
    for note in check_resumable(
        checkpoint.experiment,
        saved_experiment(spec),
        saved_fingerprint=fingerprint_of(checkpoint.state, fingerprints),
        fingerprint=fingerprints[-1] if fingerprints else None,
        same_records=has_same_records(checkpoint.state, records, data.records_digest) is True,
    ):
        log.warning("Resuming with another schedule: %s", note)
    check_same_classes(class_map_of(checkpoint), data.class_map)
    other_data = check_same_records(
        checkpoint.state,
        step=checkpoint.step,
        pattern=str(spec.data_config.training_file_pattern),
        records=records,
        digest=data.records_digest,
        refuse=not fingerprints,
    )
    if other_data:
        log.warning("Resuming on other data: %s", other_data)
    position = resumed_position(checkpoint, spec, num_records=records)
    other_ranks = changed_ranks(checkpoint.state, ranks, spec.train_batch_size, position.images)
    if other_ranks:
        log.warning("Resuming with another number of processes: %s", other_ranks)
    return position


def _remaining_plan(spec: ExperimentSpec, data: TrainingData, position: DataPosition, ranks: int) -> StepPlan:
    """Return the plan from ``position`` on; the number of steps depends on the number of ranks of this run.

    Raises:
        InvalidInput: the position is past the last step.
    """
    plan = plan_steps(
        spec,
        num_records=len(data.records),
        ranks=ranks,
        steps_done=position.step,
        images_done=position.images,
    )
    if position.step > plan.total_steps:
        field = "totalSteps" if spec.num_epochs is None else "numEpochs"
        raise InvalidInput(
            f"the results directory holds a checkpoint of step {position.step}, past the {plan.total_steps} steps of "
            f"{field}; give another results directory or a larger {field}"
        )
    if plan.total_steps != data.plan.total_steps:
        log.info(
            "%d steps in total, since the %d steps done had another number of images each",
            plan.total_steps,
            position.step,
        )
    return plan
