"""The training loop: one step after another, on this rank's batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data.faults import named_faults
from maskrcnn_trainer.data.pipeline import training_dataset
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec, StepPlan
from maskrcnn_trainer.task.progress import ProgressMeter
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.not_finite import not_finite
from maskrcnn_trainer.training.position import DataProgress
from maskrcnn_trainer.training.preparation import TrainingData
from maskrcnn_trainer.training.step import TrainStep
from maskrcnn_trainer.training.telemetry import Telemetry


@dataclass(frozen=True)
class StepDone:
    """A step that all ranks have done.

    Attributes:
        number: steps done, this one included.
        stop: a rank received a request to stop, and this isn't the last step.
    """

    number: int
    stop: bool


def training_batches(
    spec: ExperimentSpec,
    data: TrainingData,
    anchors: NDArray[Any],
    context: DistributedContext,
    progress: DataProgress,
) -> Iterator[Any]:
    """Return the batches of this rank, from where the training starts or continues."""
    start = progress.start
    order = start.order(len(data.records), spec.seed)

    def records_of(element: int) -> Iterable[int]:
        first = progress.after(start.step + element).images
        batch = order.batch(first, context.rank, context.size, spec.train_batch_size)
        return [int(record) for record in batch.records]

    dataset = training_dataset(
        data.records,
        spec,
        data.class_map,
        anchors,
        start=start.images,
        rank=context.rank,
        ranks=context.size,
        order=order,
    )
    return named_faults(dataset, data.records, records_of, data.class_map)


def training_steps(
    step: TrainStep,
    batches: Iterator[Any],
    *,
    plan: StepPlan,
    progress: DataProgress,
    stop: StopRequest,
    telemetry: Telemetry,
    meter: ProgressMeter,
) -> Iterator[StepDone]:
    """Train to the last step of the plan, report each step, and yield it.

    Args:
        step: trains on one batch; its step counter is where the loop begins.
        batches: at least as many as steps are left.
        stop: ends the training on all ranks after the same step; the caller does that.

    Raises:
        InvalidInput: the loss or the gradients are not finite any more.
    """
    done = int(step.step.numpy())
    while done < plan.total_steps:
        started = time.monotonic()
        # The request to stop is reduced with the gradients: all ranks see it after the same step.
        flags = tf.constant([1.0 if stop.asked else 0.0])
        measured = step(next(batches), flags)
        if not bool(measured["finite"]):
            raise InvalidInput(not_finite(done + 1, measured, step), reason="LossNotFinite")
        images_before, images = progress.after(done).images, progress.after(done + 1).images
        done += 1
        telemetry.step(done, plan.epoch_of(images), measured, time.monotonic() - started, meter)
        finished = plan.epochs_finished(images)
        if finished > plan.epochs_finished(images_before):
            telemetry.epoch_finished(finished, done)
        yield StepDone(done, stop=float(measured["flags"][0]) > 0 and done < plan.total_steps)
