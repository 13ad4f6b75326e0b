"""Telemetry of a running training: the progress line, TensorBoard, the records of ``status.json``, and the history."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.results.history import HistoryEvaluation, HistoryWindow, HistoryWriter
from maskrcnn_trainer.spec import StepPlan
from maskrcnn_trainer.task.progress_bar import ProgressMeter
from maskrcnn_trainer.task.reporter import Reporter

# Names on the screen, short enough for one line.
SHOWN = {
    "total_loss": "loss",
    "rpn_score_loss": "rpn score",
    "rpn_box_loss": "rpn box",
    "fast_rcnn_class_loss": "class",
    "fast_rcnn_box_loss": "box",
    "mask_loss": "mask",
    "learning_rate": "lr",
}
NOT_AVERAGED = ("learning_rate", "loss_scale")
NOT_SHOWN = ("finite", "overflowed")
"""Values of a step that decide whether training continues."""
SECONDS_BETWEEN_RECORDS = 5.0


class Telemetry:
    """Telemetry of a training.

    Args:
        directory: of the TensorBoard events; None on ranks that write none.
        reporter: receives the records.
        plan: total steps and epochs.
        images_per_step: over all ranks.
        logging_frequency: number of steps that are averaged for one report.
        history: of the training; None on ranks that write none.
    """

    def __init__(
        self,
        directory: Path | None,
        reporter: Reporter,
        plan: StepPlan,
        *,
        images_per_step: int,
        logging_frequency: int,
        history: HistoryWriter | None = None,
    ) -> None:
        self._writer = tf.summary.create_file_writer(str(directory)) if directory is not None else None
        self._reporter = reporter
        self._plan = plan
        self._images_per_step = images_per_step
        self._frequency = logging_frequency
        self._history = history
        self._window: list[dict[str, float]] = []
        self._seconds = 0.0
        self._training_seconds = 0.0
        self._steps_seen = 0
        self._skipped = 0
        self._last_record = float("-inf")
        self._epoch_started = time.monotonic()
        self._seconds_per_epoch: float | None = None

    def step(self, step: int, epoch: int, measured: Mapping[str, float], seconds: float, meter: ProgressMeter) -> None:
        """Add the measurements of one step, and report the means every ``logging_frequency`` steps.

        Steps without an update, because their gradients overflowed in float16, are counted since this process started.

        Args:
            step: of the training, from 1.
            epoch: of the step, from 1.
            measured: result of the step.
            seconds: duration of the step, including its input.
            meter: the progress line.
        """
        values = {name: value for name, value in measured.items() if name not in NOT_SHOWN}
        self._skipped += not values.pop("updated")
        self._window.append(values)
        self._seconds += seconds
        self._training_seconds += seconds
        self._steps_seen += 1
        if step % self._frequency and step != self._plan.total_steps:
            meter.advance(1)
            return
        means = self._means()
        speed = len(self._window) * self._images_per_step / max(self._seconds, 1e-9)
        self._window, self._seconds = [], 0.0
        shown = {label: means[name] for name, label in SHOWN.items()}
        skipped = {"skipped_steps": self._skipped} if self._skipped else {}
        meter.advance(1, **shown, **{"images/s": speed}, **skipped)
        self.scalars(
            step, {f"train/{name}": value for name, value in {**means, **skipped, "images_per_second": speed}.items()}
        )
        if self._history is not None:
            losses = {name: value for name, value in means.items() if name.endswith("_loss")}
            self._history.window(HistoryWindow(step, losses, means["learning_rate"], speed))
        now = time.monotonic()
        if now - self._last_record >= SECONDS_BETWEEN_RECORDS or step == self._plan.total_steps:
            self._last_record = now
            self._reporter.running(
                epoch=epoch,
                max_epoch=self._plan.num_epochs,
                step=step,
                total_steps=self._plan.total_steps,
                eta=self.eta(step),
                time_per_epoch=self._seconds_per_epoch,
                graphical={**self._graphical(means), "images_per_second": speed, **skipped},
            )

    def epoch_finished(self, epoch: int, step: int, *, ended: float) -> None:
        """Report the end of an epoch, with its duration.

        Args:
            epoch: from 1.
            step: the last of the epoch.
            ended: when that step ended, in seconds of the monotonic clock; it may be reported later.
        """
        self._seconds_per_epoch = ended - self._epoch_started
        self._epoch_started = ended
        self._reporter.running(
            f"Epoch {epoch} finished.",
            epoch=epoch,
            max_epoch=self._plan.num_epochs,
            step=step,
            total_steps=self._plan.total_steps,
            eta=self.eta(step),
            time_per_epoch=self._seconds_per_epoch,
        )

    def evaluated(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Report the metrics of a checkpoint."""
        self.scalars(step, {f"evaluation/{name}": value for name, value in metrics.items()})
        if self._history is not None:
            self._history.evaluation(HistoryEvaluation(step, metrics))
        self._reporter.running(
            "Evaluation metrics generated.",
            epoch=epoch,
            max_epoch=self._plan.num_epochs,
            step=step,
            total_steps=self._plan.total_steps,
            eta=self.eta(step),
            kpi=metrics,
            checkpoint_step=step,
        )

    def eta(self, step: int) -> float | None:
        """Return the remaining seconds of training without evaluations; None before the first step."""
        if not self._steps_seen:
            return None
        return (self._plan.total_steps - step) * self._training_seconds / self._steps_seen

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write TensorBoard scalars."""
        if self._writer is None:
            return
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def images(self, step: int, pictures: Mapping[str, NDArray[Any]]) -> None:
        """Write TensorBoard images, uint8 [H, W, 3] each."""
        if self._writer is None:
            return
        with self._writer.as_default(step=step):
            for name, picture in pictures.items():
                tf.summary.image(name, picture[None])
        self._writer.flush()

    def flush(self) -> None:
        """Write what the history has not written yet, before work that may take long."""
        if self._history is not None:
            self._history.flush()

    def close(self) -> None:
        """Write the rest of the history, and close the TensorBoard writer."""
        self.flush()
        if self._writer is not None:
            self._writer.close()

    def _means(self) -> dict[str, float]:
        last = self._window[-1]
        return {
            name: last[name] if name in NOT_AVERAGED else float(np.mean([entry[name] for entry in self._window]))
            for name in last
        }

    @staticmethod
    def _graphical(means: Mapping[str, float]) -> dict[str, float]:
        """Return ``loss`` and ``learning_rate`` under their documented names, together with the parts of the loss."""
        parts = {name: value for name, value in means.items() if name.endswith("_loss") and name != "total_loss"}
        return {"loss": means["total_loss"], "learning_rate": means["learning_rate"], **parts}
