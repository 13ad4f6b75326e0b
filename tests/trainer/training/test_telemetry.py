"""Measurements of a training in its log line and in status.json."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import tensorflow as tf

from maskrcnn_trainer.spec import StepPlan
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.progress_bar import LogMeter
from maskrcnn_trainer.task.reporter import Reporter
from maskrcnn_trainer.training.step import LOSSES
from maskrcnn_trainer.training.telemetry import Telemetry

pytestmark = pytest.mark.trainer


class Unreadable:
    def __float__(self) -> float:
        raise AssertionError("a host read of each step")


def test_skipped_steps_are_counted_in_log_and_status(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter("train", tmp_path, TaskEnvironment())
    reporter.started()
    plan = StepPlan(total_steps=6, num_epochs=1, steps_per_epoch=6, steps_per_eval=6, images_per_epoch=6)
    telemetry = Telemetry(None, reporter, plan, images_per_step=1, logging_frequency=2)
    meter = LogMeter("Training", 6, "steps", 0, lambda: 0.0, interval=0.0, log=logging.getLogger("test"))
    caplog.set_level(logging.INFO)
    numbers = ("total_loss", *LOSSES, "foreground_rois", "l1_loss", "l2_loss", "learning_rate", "loss_scale")
    for number in range(1, 7):
        measured = {name: tf.constant(1.0) for name in numbers}
        measured |= {"updated": tf.constant(number not in (3, 4)), "finite": Unreadable(), "overflowed": Unreadable()}
        telemetry.step(number, 1, {**measured, "flags": tf.zeros([1])}, 1.0, meter)
    lines = [record.message for record in caplog.records if "loss" in record.message]
    assert "skipped" not in lines[1]
    assert "skipped_steps 2" in lines[-1]
    last = json.loads((tmp_path / "status.json").read_text().splitlines()[-1])
    assert last["graphical"]["skipped_steps"] == 2
