"""Launches with results in a store in memory, whose processes are a function of the test."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.unit.publishing.file_store import FINGERPRINT, FileStore

from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.launch.stop_request import GroupStopRequest
from maskrcnn_trainer.launch.store_results import launch_stored
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.publication import TaskPublication
from maskrcnn_trainer.task.stored_step import StoredStep

URL = "s3://bucket/results/exp/train"
STORED = StoredStep(ObjectUrl("s3", "bucket", "results"), "exp", "train", "me")


@dataclass
class StartedTask:
    """Processes of a launch, with all that they get.

    Attributes:
        settings: options of the launch.
        environment: of the task.
        directory: results directory.
        kept: the kept log.
        channel: rank 0's end of the channel.
        member: part of the node in its worker group.
    """

    settings: LaunchSettings
    environment: TaskEnvironment
    directory: Path
    kept: KeptLog
    channel: TaskPublication
    member: GroupMember

    def write_checkpoint(self, step: int, content: bytes = b"weights") -> None:
        """Write a checkpoint, and announce it."""
        (self.directory / f"model.step-{step}.tlt").write_bytes(content)
        self.channel.announce(step)

    def write_result(self, **members: Any) -> None:
        """Write result.json and the termination message of a success."""
        result = {"task": "train", "code": 0, "fingerprint": FINGERPRINT, "metrics": {"AP": 0.5}, "artifacts": {}}
        (self.directory / "result.json").write_text(json.dumps(result | members))
        self.write_message(code=0, checkpointStep=40)

    def write_message(self, **members: Any) -> None:
        """Write the termination message."""
        assert self.environment.termination_log is not None
        Path(self.environment.termination_log).write_text(json.dumps(members))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, for at most 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.01)


Processes = Callable[[StartedTask], int]


@dataclass
class StoredLaunches:
    """Launches of one step.

    Attributes:
        directory: for termination messages and the working copy.
        store: the store.
        stop: request to stop of the next launch.
        stored: the step.
        nodes: number of nodes, of which this is node 0.
        stops: requests of the store that ask whether to stop get this function from the launch.
    """

    directory: Path
    store: FileStore = field(default_factory=FileStore)
    stop: GroupStopRequest = field(default_factory=GroupStopRequest)
    stored: StoredStep = STORED
    nodes: int = 1
    stops: list[Callable[[], bool]] = field(default_factory=list)

    def launch(self, processes: Processes, *, attempt: int = 1, task: tuple[str, ...] = ("train", "-d", URL)) -> int:
        """Launch an attempt, and return its exit code."""

        @contextmanager
        def open_store(_url: ObjectUrl, _settings: LaunchSettings, stop: Callable[[], bool]) -> Iterator[FileStore]:
            self.stops.append(stop)
            yield self.store

        def run(
            settings: LaunchSettings,
            environment: TaskEnvironment,
            kept: KeptLog | None,
            descriptor: int | None,
            member: GroupMember,
        ) -> int:
            assert kept is not None
            assert descriptor is not None
            with socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
                directory = Path(str(environment.results_dir))
                task = StartedTask(settings, environment, directory, kept, TaskPublication(channel), member)
                return processes(task)

        environment = TaskEnvironment(
            stored_step=self.stored,
            fingerprint=FINGERPRINT,
            attempt=attempt,
            experiment_uid="uid-1",
            created="2026-01-31T12:00:00Z",
            termination_log=str(self.directory / "termination.json"),
        )
        settings = LaunchSettings(self.nodes, 0, 1, ("node-0", 29500), task)
        return launch_stored(settings, environment, self.stored, self.stop, run, open_store=open_store)

    def with_working_dir(self) -> Path:
        """Keep the working copy, and return the results directory in it."""
        self.stored = replace(self.stored, working_dir=str(self.directory / "work"))
        return self.directory / "work" / "exp" / "train"

    def message(self) -> dict[str, Any]:
        """Return the termination message."""
        content: dict[str, Any] = json.loads((self.directory / "termination.json").read_bytes())
        return content
