"""The training loop: steps on this rank's batches, with checkpoints and evaluations in between.

The result of a step is read while the next one runs. All ranks see the same results after the same step, so they also
stop after the same step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data.faults import named_faults
from maskrcnn_trainer.data.pipeline import training_dataset
from maskrcnn_trainer.errors import Stopped
from maskrcnn_trainer.spec import ExperimentSpec, StepPlan
from maskrcnn_trainer.task.progress_bar import progress_bar
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.training.checkpointing import CheckpointEvaluator, CheckpointWriter
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.position import DataProgress
from maskrcnn_trainer.training.preparation import TrainingData
from maskrcnn_trainer.training.step import TrainStep
from maskrcnn_trainer.training.step_reports import StepReports
from maskrcnn_trainer.training.telemetry import Telemetry

log = logging.getLogger(__name__)


def training_batches(
    spec: ExperimentSpec,
    data: TrainingData,
    anchors: NDArray[Any],
    context: DistributedContext,
    progress: DataProgress,
) -> Iterator[Any]:
    """Return the batches of this rank, from the position at which the training starts or continues.

    Args:
        spec: of the run.
        data: of the run.
        anchors: float32 [A, 4], of the padded image.
        context: the worker group.
        progress: positions in the data.
    """
    start = progress.start
    order = start.order(len(data.records), spec.seed)

    def records_of(element: int) -> Iterable[int]:
        first = progress.after(start.step + element).images
        batch = order.batch(first, context.rank, context.size, spec.train_batch_size)
        return [int(record) for record in batch]

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


@dataclass(frozen=True)
class TrainingLoop:
    """Steps of a training, with checkpoints and evaluations in between.

    Attributes:
        step: trains on one batch; the loop begins at its step counter.
        plan: steps of the training.
        progress: positions in the data.
        context: the worker group.
        stop: request to stop, which ends the training on all ranks after the same step.
        telemetry: receives the measurements.
        writer: writes checkpoints.
        evaluator: evaluates checkpoints.
    """

    step: TrainStep
    plan: StepPlan
    progress: DataProgress
    context: DistributedContext
    stop: StopRequest
    telemetry: Telemetry
    writer: CheckpointWriter
    evaluator: CheckpointEvaluator

    def run(self, make_batches: Callable[[], Iterator[Any]]) -> None:
        """Train to the last step of the plan; before each evaluation, write a checkpoint.

        Args:
            make_batches: returns at least as many batches as there are steps left; called only if there are any.

        Raises:
            Stopped: a stop was requested; the checkpoint of the last step done was written.
            InvalidInput: the loss or the gradients are no longer finite.
        """
        total = self.plan.total_steps
        done = int(self.step.step.numpy())
        # The previous run may have ended between a checkpoint and its evaluation.
        if done and self.plan.is_evaluated_at(done):
            self.evaluator.evaluate(done)
        with (
            progress_bar("Training", total, "steps", initial=done, log=log) as meter,
            ThreadPoolExecutor(1, "measurements") as reader,
        ):
            reports = StepReports(self.step, self.plan, self.progress, self.telemetry, meter=meter, reader=reader)
            batches = make_batches() if done < total else iter(())
            while done < total:
                stopping = self._train_step(batches, done, reports)
                done += 1
                stopping &= done < total
                evaluated = self.plan.is_evaluated_at(done)
                if stopping or evaluated:
                    # No checkpoint may follow a loss that isn't finite. A request to stop in the last value is
                    # obeyed, too, but after the last step there is nothing to stop.
                    stopping |= reports.read() and done < total
                    self.telemetry.flush()
                    self.writer.write(done)
                if stopping:
                    self.context.barrier_and_shutdown()
                    raise Stopped(
                        f"Training was stopped on request after step {done}; run it again to resume from this step"
                    )
                if evaluated:
                    self.evaluator.evaluate(done)

    def _train_step(self, batches: Iterator[Any], done: int, reports: StepReports) -> bool:
        """Give the device the next batch after ``done`` steps, and report the step before.

        Returns:
            Whether a rank received a request to stop.
        """
        started = time.monotonic()
        try:
            batch = next(batches)
        except Exception:
            reports.read()  # the step before ends the training first if its loss isn't finite
            raise
        # The request to stop is reduced with the gradients, so that all ranks get it after the same step.
        flags = tf.constant([1.0 if self.stop.asked else 0.0])
        return reports.add(done + 1, self.step(batch, flags), started=started)
