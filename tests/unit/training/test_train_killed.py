"""A training that is killed at any change of a file resumes, and ends like one that was not killed.

The files of a training are written without TensorFlow here. A separate process forks one training for each change of a
file (creation, flush, rename, deletion), which kills itself just before the change, and then one that runs to the end.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.results.history import HistoryEvaluation, HistoryWindow, HistoryWriter
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.ownership import only_training
from maskrcnn_trainer.training.checkpoint import CheckpointStore

QUALITY = {2: 0.6, 4: 0.2, 6: 0.1, 8: 0.4}


def model(step: int) -> ModelFile:
    weights = {"w": np.full(3, step, np.float32)}
    return ModelFile({}, {}, {}, step, weights, optimizer=weights)


def train(directory: Path, say: Callable[[str], object]) -> None:
    """Make the same changes of files as the train task."""
    with only_training(directory, None):
        remove_leftovers(directory)
        store = CheckpointStore(directory, key=None, keep=1, guard=lambda: None)
        found = store.newest(refuse_unreadable=True)
        done = found.step if found is not None else 0
        say(f"resumed {done}")
        store.take_up(done or None, "val")
        history = HistoryWriter(directory, before_write=lambda: None, seconds_between_writes=0.0)
        history.take_up(done, store.metrics(done) if done else None)
        for step in (done, *range(done + 2, 10, 2)):
            if step > done:
                history.window(HistoryWindow(step, {"total_loss": 1.0 / step}))
                store.write(model(step))
                say(f"written {step}")
            if step and store.metrics(step) is None:
                store.record_evaluation(step, {"mask_AP": QUALITY[step]})
                history.evaluation(HistoryEvaluation(step, {"mask_AP": QUALITY[step]}))
        say(f"best {store.best()}")


def in_a_process(directory: Path, kill_at: int | None) -> tuple[bool, list[str]]:
    """Train in a fork, killed before the ``kill_at``-th change of a file; return whether it was, and its lines."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _kill_before(directory, kill_at)
        train(directory, lambda text: os.write(writing, f"{text}\n".encode()))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        lines = stream.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0, lines


def _kill_before(directory: Path, kill_at: int | None) -> None:
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.rename", "os.remove", "os.truncate") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)
        )
        if changes and (event == "os.truncate" or str(directory) in str(arguments[0])):
            count()

    fsync = os.fsync

    def counted_fsync(descriptor: int) -> None:
        count()
        fsync(descriptor)

    os.fsync = counted_fsync
    sys.addaudithook(audit)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Output and files of a killed training and of the one after it."""

    killed: bool
    before: list[str]
    after: list[str]
    files: list[str]
    evaluations: dict[str, dict[str, float]]
    history: list[str]


def outcome(directory: Path, *kills: int) -> Outcome:
    killed, before = False, []
    for kill_at in kills:
        died, lines = in_a_process(directory, kill_at)
        killed, before = killed or died, before + lines
    _, after = in_a_process(directory, None)
    entries = json.loads((directory / "evaluations.json").read_text())
    metrics = {step: {"mask_AP": entry["mask_AP"]} for step, entry in entries.items()}
    files = sorted(path.name for path in directory.iterdir())
    return Outcome(killed, before, after, files, metrics, (directory / "history.jsonl").read_text().splitlines())


def main(root: Path) -> None:
    """Print outcomes as lines of JSON: without a kill, with one kill at each change, with two kills."""
    found = [outcome(root / "whole", 10**6)]
    number = 1
    while found[-1].killed or number == 1:
        found.append(outcome(root / f"one-{number}", number))
        number += 1
    found += [outcome(root / f"two-{number}", number, 1 + number % 7) for number in range(3, number, 4)]
    for one in found:
        sys.stdout.write(json.dumps(dataclasses.asdict(one)) + "\n")


def test_a_training_killed_at_any_change_of_a_file_ends_like_one_that_was_not(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    whole, *others = (Outcome(**json.loads(line)) for line in done.stdout.splitlines())
    assert whole.files == ["evaluations.json", "history.jsonl", "model.step-2.tlt", "model.step-8.tlt"]
    assert whole.evaluations == {str(step): {"mask_AP": quality} for step, quality in QUALITY.items()}
    entries = [(entry["step"], "metrics" in entry) for entry in map(json.loads, whole.history)]
    assert entries == [(step, evaluated) for step in QUALITY for evaluated in (False, True)]
    assert sum(one.killed for one in others) > 45
    for one in others:
        assert (one.files, one.evaluations) == (whole.files, whole.evaluations), one
        assert one.history == whole.history, one
        assert one.after[-1] == "best 2", one
        # no step with a written checkpoint is trained again
        confirmed = [int(said.split()[1]) for said in one.before if said.startswith("written")]
        assert int(one.after[0].removeprefix("resumed ")) >= max(confirmed, default=0), one


if __name__ == "__main__":
    main(Path(sys.argv[1]))
