"""Metrics belong to the checkpoint file that was evaluated, and to the data it was evaluated on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.spec.task_table import EVALUATIONS_FILE
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.evaluations import Evaluations

GOOD, BETTER = {"mask_AP": 0.4}, {"mask_AP": 0.6}


def model(step: int, value: float = 0.0) -> ModelFile:
    weights = {"w": np.full(3, value, np.float32)}
    return ModelFile({}, {}, {}, step, weights, optimizer=weights)


def store(directory: Path, resumed: int | None = None, evaluated_on: str = "val", keep: int = 5) -> CheckpointStore:
    opened = CheckpointStore(directory, key=None, keep=keep, guard=lambda: None)
    opened.take_up(resumed, evaluated_on)
    return opened


def trained(directory: Path, keep: int = 5) -> CheckpointStore:
    """Directory of two evaluated checkpoints, of which the earlier one is better."""
    kept = store(directory, keep=keep)
    for step, metrics in ((2, BETTER), (4, GOOD)):
        kept.write(model(step))
        kept.record_evaluation(step, metrics)
    return kept


def entries(directory: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((directory / EVALUATIONS_FILE).read_text())
    return found


def test_a_pipe_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / EVALUATIONS_FILE)
    with pytest.raises(InvalidInput, match="it is a pipe"):
        Evaluations(tmp_path)


def test_a_checkpoint_that_was_evaluated_is_not_evaluated_again(tmp_path: Path) -> None:
    trained(tmp_path)
    again = store(tmp_path, resumed=4)
    assert again.metrics(4) == GOOD
    assert again.metrics(2) == BETTER
    assert again.best() == 2


def test_evaluations_after_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    kept = trained(tmp_path)
    kept.path(4).unlink()
    again = store(tmp_path, resumed=2)
    assert list(entries(tmp_path)) == ["2"]
    again.write(model(4, 1.0))
    assert again.metrics(4) is None


def test_a_training_from_step_0_takes_no_evaluation_of_an_earlier_one(tmp_path: Path) -> None:
    kept = trained(tmp_path)
    for step in (2, 4):
        kept.path(step).unlink()
    again = store(tmp_path)
    assert entries(tmp_path) == {}
    again.write(model(2, 1.0))
    assert again.metrics(2) is None
    assert again.best() is None


def test_a_damaged_checkpoint_is_not_the_best(tmp_path: Path) -> None:
    kept = trained(tmp_path)
    kept.path(2).write_bytes(b"damaged")
    again = store(tmp_path, resumed=4)
    assert again.metrics(2) is None
    assert again.best() == 4


def test_a_run_killed_between_a_checkpoint_and_its_evaluation_evaluates_it(tmp_path: Path) -> None:
    trained(tmp_path)
    CheckpointStore(tmp_path, key=None, keep=5, guard=lambda: None).write(model(4, 1.0))
    assert store(tmp_path, resumed=4).metrics(4) is None


def test_the_best_is_chosen_among_evaluations_on_the_same_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(tmp_path)
    again = store(tmp_path, resumed=4, evaluated_on="other val")
    assert "2 evaluations used other validation data or other inference settings;" in caplog.text
    assert again.metrics(4) is None
    again.record_evaluation(4, {"mask_AP": 0.1})
    assert again.best() == 4
    assert store(tmp_path, resumed=4).best() == 2


def test_metrics_of_an_earlier_release_count_for_existing_checkpoints(tmp_path: Path) -> None:
    kept = trained(tmp_path, keep=1)
    (tmp_path / EVALUATIONS_FILE).write_text(json.dumps({"2": BETTER, "4": GOOD, "6": {"mask_AP": 0.9}}))
    again = store(tmp_path, resumed=4, keep=1)
    assert again.metrics(4) == GOOD
    assert again.best() == 2
    again.write(model(6))
    assert again.metrics(6) is None
    assert kept.steps() == [2, 6]


def test_an_earlier_release_reads_the_metrics(tmp_path: Path) -> None:
    trained(tmp_path)
    numbers = {
        step: {name: value for name, value in entry.items() if isinstance(value, int | float)}
        for step, entry in entries(tmp_path).items()
    }
    assert numbers == {"2": BETTER, "4": GOOD}
