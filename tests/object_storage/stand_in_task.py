"""Stand-in for a training: it writes files of known content and announces its checkpoints, without TensorFlow.

``python -m tests.object_storage.stand_in_task launch -- train ...`` is ``maskrcnn launch`` whose processes run this
module in place of the trainer. All else is real: the command line, the claim, the channel, and the published files.

A checkpoint's content depends on its step and on the attempts that made the steps before, so that the bytes show
whether an attempt continued from the published one (:func:`checkpoint_content`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from maskrcnn_trainer import cli
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch import launch
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.results.ownership import ownership_guard
from maskrcnn_trainer.shared.variables import TOKEN_VARIABLE
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import CHECKPOINT, EVALUATIONS_FILE, HISTORY_FILE
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import write_atomically, write_json_atomically
from maskrcnn_trainer.task.log_setup import setup_logging
from maskrcnn_trainer.task.publication import task_publication
from maskrcnn_trainer.task.reporter import Reporter, task_report
from maskrcnn_trainer.task.stopping import StopRequest

PROGRAM = (sys.executable, "-m", "tests.object_storage.stand_in_task")
ROOT = Path(__file__).resolve().parents[2]
FINGERPRINT = "0123456789abcdef0123456789abcdef-v1"
HOLDING = "holding at step"
"""Beginning of the line that a task prints when it holds, once its checkpoint is published."""
SECONDS = 120
KEPT = 2
"""Number of checkpoints that the task keeps."""


def checkpoint_content(attempts: Sequence[int], size: int) -> bytes:
    """Return the content of a checkpoint.

    Args:
        attempts: for each step up to that of the checkpoint, the attempt that made it.
        size: bytes that follow the first line.
    """
    header = json.dumps({"step": len(attempts), "attempts": list(attempts)}).encode()
    return header + b"\n" + random.Random(len(attempts)).randbytes(size)  # noqa: S311 - no secret


def attempts_in(content: bytes) -> list[int]:
    """Return the attempts that made the steps of a checkpoint, after a check of all its bytes."""
    line, _, rest = content.partition(b"\n")
    attempts: list[int] = json.loads(line)["attempts"]
    if content != checkpoint_content(attempts, len(rest)):
        raise ValueError("The content isn't that of a checkpoint of the stand-in task")
    return attempts


@dataclass(frozen=True)
class StandInLaunch:
    """``maskrcnn launch`` of the stand-in task in a process of its own.

    Attributes:
        results_url: URL of the step.
        config: file of --store-config.
        directory: for the termination message.
        attempt: number of the attempt.
        working_dir: directory of the working copy; None: a temporary one.
        fingerprint: of the step.
        created: time at which the experiment was created.
        uid: of the experiment.
        owner_id: of the experiment's results.
        options: flags of the task; see :func:`parse_options`.
        variables: further environment variables.
    """

    results_url: str
    config: Path
    directory: Path
    attempt: int = 1
    working_dir: Path | None = None
    fingerprint: str = FINGERPRINT
    created: str = "2026-01-31T12:00:00Z"
    uid: str = "c2e7a0ce-5f0f-4b0c-8a63-0f6a3c6f3f11"
    owner_id: str = "lab"
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def termination_log(self) -> Path:
        """Return the file of the termination message."""
        return self.directory / f"termination-{self.attempt}.json"

    @property
    def command(self) -> list[str]:
        """Return the command line."""
        return [
            *(*PROGRAM, "launch", "--", "train", "-d", self.results_url, "--store-config", str(self.config)),
            *self.options,
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment of the command, without an ambient identity."""
        foreign = ("AWS_", "AZURE_", "GOOGLE_", "MASKRCNN_")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            "MASKRCNN_RESULTS_DIR": self.results_url,
            "MASKRCNN_FINGERPRINT": self.fingerprint,
            "MASKRCNN_ATTEMPT": str(self.attempt),
            "MASKRCNN_EXPERIMENT_UID": self.uid,
            "MASKRCNN_CREATED": self.created,
            "MASKRCNN_OWNER_ID": self.owner_id,
            "MASKRCNN_TERMINATION_LOG": str(self.termination_log),
            **({"MASKRCNN_WORKING_DIR": str(self.working_dir)} if self.working_dir else {}),
            **self.variables,
        }

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            self.command,
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """Start the command, and kill it at the end of the block."""
        with subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def message(self) -> dict[str, Any]:
        """Return the termination message."""
        content: dict[str, Any] = json.loads(self.termination_log.read_text())
        return content


def wait_until_it_holds(process: subprocess.Popen[str]) -> str:
    """Return the output of a launch up to the line at which its task holds."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if HOLDING in line:
            return seen
    raise AssertionError(f"The task ended before it held:\n{seen}")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of the task."""
    parser = argparse.ArgumentParser(prog="stand_in_task", allow_abbrev=False)
    parser.add_argument("task", choices=[TaskName.TRAIN.command])
    parser.add_argument("-d", "--results-dir", type=Path, required=True)
    parser.add_argument("--store-config", help="accepted, as by each task; only launch reads it")
    parser.add_argument("--steps", type=int, default=40, help="steps of the training")
    parser.add_argument("--every", type=int, default=10, help="steps between two checkpoints")
    parser.add_argument("--size", type=int, default=20_000, help="bytes of a checkpoint")
    parser.add_argument("--pictures", type=int, default=0, help="files below logs/ that are written at the start")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that a step takes")
    parser.add_argument("--hold-at", type=int, help="wait for a signal, once this step's checkpoint is published")
    parser.add_argument("--release", type=Path, help="with --hold-at: continue once this file exists")
    parser.add_argument("--hold-unpublished", action="store_true", help="with --hold-at: don't wait for the publish")
    parser.add_argument("--in-step", action="store_true", help="wait after each checkpoint until it is published")
    parser.add_argument("--in-step-until", type=int, help="with --in-step: the last step that waits; default: all")
    parser.add_argument("--fail-at", type=int, help="fail with exit code 64 after this step")
    return parser.parse_args(list(arguments))


def run_task(arguments: Sequence[str]) -> int:
    """Run the task as rank 0 of a worker group of one."""
    options = parse_options(arguments)
    environment = TaskEnvironment.from_environ()
    guard = ownership_guard(options.results_dir, os.environ.get(TOKEN_VARIABLE))
    with (
        StopRequest() as stop,
        task_report(
            TaskName.TRAIN, options.results_dir, environment, started="Starting.", before_write=guard
        ) as report,
    ):
        _Training(options, environment, report, stop).run()
    return 0


class _Training:
    def __init__(
        self, options: argparse.Namespace, environment: TaskEnvironment, reporter: Reporter, stop: StopRequest
    ) -> None:
        self._options = options
        self._environment = environment
        self._reporter = reporter
        self._stop = stop
        self._directory: Path = options.results_dir
        self._guard = ownership_guard(options.results_dir, os.environ.get(TOKEN_VARIABLE))
        self._attempts: list[int] = []

    def run(self) -> None:
        """Continue from the newest checkpoint to the last step."""
        options = self._options
        steps = self._steps()
        self._take_up_history(steps[-1] if steps else 0)
        if steps:
            self._attempts = attempts_in(self._path(steps[-1]).read_bytes())
            self._reporter.running(f"Resuming from step {steps[-1]}.", checkpoint_step=steps[-1])
        self._reporter.accepted()
        self._write_pictures()
        while len(self._attempts) < options.steps:
            time.sleep(options.pause)
            self._attempts.append(self._environment.attempt)
            step = len(self._attempts)
            with (self._directory / HISTORY_FILE).open("a") as stream:
                stream.write(f"{json.dumps({'step': step})}\n")
            if step % options.every == 0:
                self._write_checkpoint(step)
                if options.in_step and (options.in_step_until is None or step <= options.in_step_until):
                    self._wait_until_published(step)
            if step == options.hold_at:
                self._hold(step)
            if self._stop.asked and step % options.every:
                self._write_checkpoint(step)
            self._stop.check()
            if step == options.fail_at:
                raise InvalidInput(f"failed on request after step {step}", reason="InvalidData")
        model = self._path(options.steps)
        self._reporter.succeeded(
            "Finished.",
            metrics={"AP": 0.5},
            artifacts={"model": model},
            model_path=model,
            checkpoint_step=options.steps,
        )

    def _take_up_history(self, resumed: int) -> None:
        """Remove what the history has of steps that are repeated."""
        path = self._directory / HISTORY_FILE
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= resumed]
        if kept != lines:
            write_atomically(path, "".join(kept).encode(), before_rename=self._guard)

    def _steps(self) -> list[int]:
        matches = (CHECKPOINT.fullmatch(path.name) for path in self._directory.iterdir())
        return sorted(int(match["step"]) for match in matches if match)

    def _path(self, step: int) -> Path:
        return self._directory / f"model.step-{step}.tlt"

    def _write_checkpoint(self, step: int) -> None:
        content = checkpoint_content(self._attempts, self._options.size)
        write_atomically(self._path(step), content, before_rename=self._guard)
        for old in self._steps()[:-KEPT]:
            self._path(old).unlink()
        evaluations = {str(done): {"AP": done / 1000} for done in self._steps()}
        write_json_atomically(self._directory / EVALUATIONS_FILE, evaluations)
        self._reporter.running(f"Checkpoint {step} written.", step=step, checkpoint_step=step)

    def _write_pictures(self) -> None:
        folder = self._directory / "logs" / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(self._options.pictures):
            (folder / f"events.out.tfevents.{number}").write_bytes(b"%d" % number * 100)

    def _wait_until_published(self, step: int) -> None:
        channel = task_publication()
        while not self._stop.asked and channel is not None and channel.published_step != step:
            time.sleep(0.01)

    def _hold(self, step: int) -> None:
        if not self._options.hold_unpublished:
            self._wait_until_published(step)
        sys.stdout.write(f"{HOLDING} {step}\n")
        sys.stdout.flush()
        release: Path | None = self._options.release
        while not self._stop.asked and not (release is not None and release.exists()):
            time.sleep(0.01)


@contextmanager
def unprepared(settings: LaunchSettings) -> Iterator[None]:
    """Enter a block without preparation, in place of the trainer's for several processes."""
    yield


def main() -> NoReturn:
    """Run ``launch`` of the stand-in task, or the task itself."""
    if sys.argv[1:2] == ["launch"]:
        # a default, because the command line of a user has no flag for it
        launch.__kwdefaults__ = {**(launch.__kwdefaults__ or {}), "program": PROGRAM}
        # the trainer's parser would refuse the options of this task
        cli._prepared = unprepared
        cli.entry()
    setup_logging()
    sys.exit(run_task(sys.argv[1:]))


if __name__ == "__main__":
    main()
