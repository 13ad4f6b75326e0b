"""Reports of a training's steps, each of which is read while the next step runs."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import StepPlan
from maskrcnn_trainer.task.progress_bar import ProgressMeter
from maskrcnn_trainer.training.measured import Measured
from maskrcnn_trainer.training.not_finite import not_finite
from maskrcnn_trainer.training.position import DataProgress
from maskrcnn_trainer.training.step import TrainStep
from maskrcnn_trainer.training.telemetry import Telemetry


@dataclass(frozen=True)
class _UnreadStep:
    """Step that was given to the device.

    Attributes:
        number: of the step, from 1.
        measured: its result.
        copy: returns the step's end, in seconds of the monotonic clock, when the result is on the host.
        started: when its batch was requested, in seconds of the monotonic clock.
    """

    number: int
    measured: Measured
    copy: Future[float]
    started: float


def _end_of(measured: Measured) -> float:
    """Wait for the step's end, and return its time in seconds of the monotonic clock."""
    measured.read()
    return time.monotonic()


class StepReports:
    """Reports of the steps of a training to its telemetry, one step late.

    The host gives the device a step before it reads the result of the one before, so that a GPU is never idle while the
    host reads. The copy of a result waits for all work that the device was given before it: it is started by a thread
    right after the step, and therefore ends before the next step does.

    A step lasts from the end of the step before, or from the request of its batch if that is later, to its own end. So
    the durations of the steps between two evaluations add up to the time that passed, however far the host is ahead.

    Args:
        step: the training step.
        plan: steps of the training.
        progress: positions in the data.
        telemetry: receives the measurements.
        meter: the progress line.
        reader: runs the copies.
    """

    def __init__(
        self,
        step: TrainStep,
        plan: StepPlan,
        progress: DataProgress,
        telemetry: Telemetry,
        *,
        meter: ProgressMeter,
        reader: Executor,
    ) -> None:
        self._step = step
        self._plan = plan
        self._progress = progress
        self._telemetry = telemetry
        self._meter = meter
        self._reader = reader
        self._unread: _UnreadStep | None = None
        self._ended = float("-inf")

    def add(self, number: int, measured: Measured, *, started: float) -> bool:
        """Take the result of a step that was just given to the device, and report the step before, if it is unread.

        Args:
            number: of the step, from 1.
            measured: its result.
            started: when its batch was requested, in seconds of the monotonic clock.

        Returns:
            Whether a rank had received a request to stop when the reported step began; the same on all ranks.

        Raises:
            InvalidInput: training cannot continue after the reported step.
        """
        before = self._unread
        self._unread = _UnreadStep(number, measured, self._reader.submit(_end_of, measured), started)
        return self._report(before) if before is not None else False

    def read(self) -> bool:
        """Report the last step unless that was done; wait for its end.

        Returns:
            As :meth:`add`.

        Raises:
            InvalidInput: training cannot continue after this step.
        """
        last, self._unread = self._unread, None
        return self._report(last) if last is not None else False

    def _report(self, unread: _UnreadStep) -> bool:
        number, measured, ended = unread.number, unread.measured, unread.copy.result()
        seconds, self._ended = ended - max(unread.started, self._ended), ended
        if not measured["finite"]:
            raise InvalidInput(not_finite(number, measured, self._step), reason="LossNotFinite")
        images_before, images = self._progress.after(number - 1).images, self._progress.after(number).images
        self._telemetry.step(number, self._plan.epoch_of(images), measured, seconds, self._meter)
        finished = self._plan.epochs_finished(images)
        if finished > self._plan.epochs_finished(images_before):
            self._telemetry.epoch_finished(finished, number, ended=ended)
        return bool(measured.flags[0] > 0)
