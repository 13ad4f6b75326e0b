"""Measurements of a training in its log line and in status.json."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from maskrcnn_trainer.results.history import History, HistoryEvaluation, HistoryWindow, HistoryWriter, read_history
from maskrcnn_trainer.spec import StepPlan
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.progress_bar import LogMeter
from maskrcnn_trainer.task.reporter import Reporter
from maskrcnn_trainer.training import telemetry as telemetry_module
from maskrcnn_trainer.training.step import LOSSES
from maskrcnn_trainer.training.telemetry import Telemetry

pytestmark = pytest.mark.trainer


NUMBERS = ("total_loss", *LOSSES, "foreground_rois", "l1_loss", "l2_loss", "learning_rate", "loss_scale")


def telemetry_of(directory: Path, history: HistoryWriter | None = None) -> Telemetry:
    reporter = Reporter("train", directory, TaskEnvironment())
    reporter.started()
    plan = StepPlan(total_steps=6, num_epochs=1, steps_per_epoch=6, steps_per_eval=6, images_per_epoch=6)
    return Telemetry(None, reporter, plan, images_per_step=1, logging_frequency=2, history=history)


def test_skipped_steps_are_counted_in_log_and_status(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    telemetry = telemetry_of(tmp_path)
    meter = LogMeter("Training", 6, "steps", 0, lambda: 0.0, interval=0.0, log=logging.getLogger("test"))
    caplog.set_level(logging.INFO)
    for number in range(1, 7):
        measured = dict.fromkeys(NUMBERS, 1.0)
        measured |= {"updated": float(number not in (3, 4)), "finite": 1.0, "overflowed": -1.0}
        telemetry.step(number, 1, measured, 1.0, meter)
    lines = [record.message for record in caplog.records if "loss" in record.message]
    assert "skipped" not in lines[1]
    assert "skipped_steps 2" in lines[-1]
    last = json.loads((tmp_path / "status.json").read_text().splitlines()[-1])
    assert last["graphical"]["skipped_steps"] == 2


def test_values_that_decide_whether_training_continues_are_no_scalars_of_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: set[str] = set()
    monkeypatch.setattr(Telemetry, "scalars", lambda _, _step, values: found.update(values))
    telemetry = telemetry_of(tmp_path)
    meter = LogMeter("Training", 6, "steps", 0, lambda: 0.0, interval=0.0, log=logging.getLogger("test"))
    for number in (1, 2):
        telemetry.step(number, 1, dict.fromkeys((*NUMBERS, "updated", "finite", "overflowed"), 1.0), 1.0, meter)
    assert found == {f"train/{name}" for name in (*NUMBERS, "images_per_second")}


def test_epoch_lasts_until_its_last_step_ended_also_if_that_is_reported_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    telemetry = telemetry_of(tmp_path)
    found = []
    monkeypatch.setattr(Reporter, "running", lambda *_, time_per_epoch, **__: found.append(time_per_epoch))
    telemetry.epoch_finished(1, 3, ended=130.0)
    telemetry.epoch_finished(2, 6, ended=150.0)
    assert found == [30.0, 20.0]


def test_history_has_the_losses_of_each_window_and_the_metrics_of_each_evaluation(tmp_path: Path) -> None:
    history = HistoryWriter(tmp_path, before_write=lambda: None, seconds_between_writes=1e9)
    history.take_up(0)
    telemetry = telemetry_of(tmp_path, history)
    meter = LogMeter("Training", 6, "steps", 0, lambda: 0.0, interval=0.0, log=logging.getLogger("test"))
    flags = {"updated": 1.0, "finite": 1.0, "overflowed": -1.0}
    for number in range(1, 6):
        measured = dict.fromkeys(NUMBERS, float(number)) | flags
        telemetry.step(number, 1, measured, 0.25, meter)
    telemetry.evaluated(5, 1, {"AP": 0.25})
    telemetry.step(6, 1, dict.fromkeys(NUMBERS, 6.0) | flags, 0.25, meter)
    telemetry.close()
    losses = [name for name in NUMBERS if name.endswith("_loss")]
    windows = tuple(
        HistoryWindow(step, dict.fromkeys(losses, step - 0.5), learning_rate=step, images_per_second=4.0)
        for step in (2, 4, 6)
    )
    assert read_history(tmp_path) == History(windows, (HistoryEvaluation(5, {"AP": 0.25}),))
