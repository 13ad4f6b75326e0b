"""Launch before the start of processes: finished results, errors, ports."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from tests.unit.launch.stored_launches import STORED, URL

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch import LaunchSettings, command, launch
from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.rendezvous import RendezvousBoard
from maskrcnn_trainer.launch.stop_request import GroupStopRequest
from maskrcnn_trainer.launch.store_results import RunProcesses
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.stored_step import StoredStep


class NoProcesses:
    @classmethod
    def start(cls, *_: object) -> Self:
        return cls()

    def wait(self) -> list[object]:
        return []


FINGERPRINT = "a8c47326caeee986b816f946d049d9ad-v1"


@pytest.mark.parametrize("size", [5, 6])
def test_existing_result_is_the_termination_message(tmp_path: Path, size: int) -> None:
    directory = tmp_path / "train"
    directory.mkdir()
    (directory / "model.tlt").write_bytes(b"model")
    artifact = {"path": str(directory / "model.tlt"), "bytes": size, "sha256": "0"}
    result = {"code": 0, "fingerprint": FINGERPRINT, "metrics": {"AP": 0.5}, "artifacts": {"model": artifact}}
    (directory / "result.json").write_text(json.dumps(result | {"modelPath": artifact["path"], "checkpointStep": 7}))
    environment = TaskEnvironment.from_environ(
        {
            "MASKRCNN_RESULTS_DIR": str(directory),
            "MASKRCNN_FINGERPRINT": FINGERPRINT,
            "MASKRCNN_ATTEMPT": "4",
            "MASKRCNN_TERMINATION_LOG": str(tmp_path / "termination.log"),
        }
    )
    task = ("train", "-d", str(directory), "-e", str(tmp_path / "absent.yaml"))
    code = launch(LaunchSettings(1, 0, 1, None, task), environment)
    if size != 5:
        # the size differs from that in the result, so the task runs again and fails because its spec is missing
        assert code == 64
        return
    assert code == 0
    said = json.loads((tmp_path / "termination.log").read_text())
    assert (said["upToDate"], said["attempt"], said["metrics"], said["checkpointStep"]) == (True, 4, {"AP": 0.5}, 7)
    assert said["artifacts"] == {"model": {"path": artifact["path"], "bytes": 5}}


def test_a_port_in_use_is_refused_with_the_flag_that_names_it(tmp_path: Path) -> None:
    environment = TaskEnvironment(termination_log=str(tmp_path / "termination.log"))
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        settings = LaunchSettings(2, 0, 1, ("train-0.train", port), ("train",))
        with pytest.raises(InvalidInput, match=f"--rendezvous train-0.train:{port}: .*in use.*give another port"):
            launch(settings, environment)
    assert json.loads((tmp_path / "termination.log").read_text())["error"]["reason"] == "PortUnusable"


NO_PATHS = "totalSteps: 3\ninitLearningRate: 0.1\ndataConfig: {imageSize: [128, 128], numClasses: 2"
NO_FILES = f"{NO_PATHS}, trainingFilePattern: absent-*, validationFilePattern: absent-*, valJsonFile: absent}}\n"
TRAIN = ["train", "-d", "out", "-e", "spec.yaml"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("initLearningRate: fast\ntotalSteps: 3\n", 'initLearningRate: "fast" must be a number'),
        (f"{NO_PATHS}}}\n", "trainingFilePattern: is required by train"),
        (NO_FILES, "absent-*: no file matches"),
    ],
)
@pytest.mark.parametrize(
    "start",
    [[*TRAIN, "--gpus", "50"], ["launch", "--processes-per-node", "50", "--", *TRAIN]],
    ids=["train", "launch"],
)
def test_mistake_in_the_spec_is_reported_once_and_starts_no_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *,
    start: list[str],
    spec: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "NodeProcesses", None)
    termination_log = tmp_path / "termination.log"
    monkeypatch.setenv("MASKRCNN_TERMINATION_LOG", str(termination_log))
    (tmp_path / "spec.yaml").write_text(spec)
    with pytest.raises(SystemExit) as ended:
        main(start)
    assert ended.value.code == 64
    assert capfd.readouterr().err.count(words) == 1
    last = json.loads((tmp_path / "out" / "status.json").read_text().splitlines()[-1])
    assert (last["status"], words in last["message"]) == ("FAILURE", True)
    assert json.loads(termination_log.read_text())["code"] == 64


@pytest.mark.parametrize(
    ("flags", "words"), [(["--epochs", "3"], "unrecognized arguments: --epochs 3"), (["--gpus", "0"], "must be 1 to")]
)
def test_mistake_in_the_command_of_a_task_is_reported_once_and_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "NodeProcesses", None)
    assert main(["launch", "--processes-per-node", "2", "--", *TRAIN, *flags]) == 64
    assert capfd.readouterr().err.count(words) == 1


@pytest.mark.parametrize(("processes", "warnings"), [(2, 0), (3, 1)])
def test_more_processes_than_cpus_are_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, processes: int, warnings: int
) -> None:
    monkeypatch.setattr(command, "NodeProcesses", NoProcesses)
    monkeypatch.setattr(command, "usable_cpus", lambda: 2)
    settings = LaunchSettings(1, 0, processes, None, ("train", "-d", str(tmp_path)))
    assert launch(settings, TaskEnvironment()) == 0
    found = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(found) == warnings
    assert all("3 processes share 2 CPUs" in message for message in found)


def test_results_directory_by_url_is_launched_with_a_preparation_that_gets_local_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def launch_in_copy(
        settings: LaunchSettings, environment: TaskEnvironment, stored: StoredStep, _: object, run: RunProcesses
    ) -> int:
        assert environment.stored_step == stored
        here = replace(settings, task=("train", "-d", str(tmp_path)))
        return run(here, replace(environment, stored_step=None), None, None, GroupMember())

    monkeypatch.setattr(command, "launch_stored", launch_in_copy)
    monkeypatch.setattr(command, "NodeProcesses", NoProcesses)
    prepared: list[tuple[str, ...]] = []

    @contextmanager
    def prepare(settings: LaunchSettings) -> Iterator[None]:
        prepared.append(settings.task)
        yield

    environment = TaskEnvironment(fingerprint=FINGERPRINT, stored_step=STORED)
    assert launch(LaunchSettings(1, 0, 2, None, ("train", "-d", URL)), environment, prepare=prepare) == 0
    assert prepared == [("train", "-d", str(tmp_path))]


@pytest.mark.parametrize("rank", [0, 1])
def test_node_joins_once_its_inputs_are_staged_and_starts_no_process_before_all_have_joined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: int
) -> None:
    done: list[str] = []

    class Processes(NoProcesses):
        @classmethod
        def start(cls, *_: object) -> Self:
            done.append("start")
            return cls()

    class Member(GroupMember):
        @contextmanager
        def joined(self, board: RendezvousBoard) -> Iterator[None]:
            done.append(f"{board.host}:{board.port}")
            yield
            done.append("end")

    @contextmanager
    def prepare(_: LaunchSettings) -> Iterator[None]:
        done.append("staged")
        yield

    def launch_in_copy(
        settings: LaunchSettings, environment: TaskEnvironment, _stored: StoredStep, _: object, run: RunProcesses
    ) -> int:
        return run(settings, replace(environment, stored_step=None), None, None, Member())

    def join(*_: object, **__: object) -> bool:
        done.append("join")
        return True

    class Host:
        port = 1

        def close(self) -> None:
            done.append("host closed")

    monkeypatch.setattr(command, "launch_stored", launch_in_copy)
    monkeypatch.setattr(command, "NodeProcesses", Processes)
    monkeypatch.setattr(command, "join", join)
    monkeypatch.setattr(command, "_listen", lambda *_: Host())
    settings = LaunchSettings(2, rank, 1, ("127.0.0.1", 29500), ("train", "-d", str(tmp_path)))
    environment = TaskEnvironment(fingerprint=FINGERPRINT, stored_step=STORED)
    assert launch(settings, environment, prepare=prepare) == 0
    closed = ["host closed"] if rank == 0 else []
    assert done == ["staged", "join", "127.0.0.1:29500", "start", "end", *closed]


@pytest.mark.parametrize("when", ["waiting", "joined"])
def test_node_that_is_superseded_before_its_processes_starts_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: str
) -> None:
    stops: list[GroupStopRequest] = []

    def launch_in_copy(
        settings: LaunchSettings, environment: TaskEnvironment, _: StoredStep, stop: GroupStopRequest, run: RunProcesses
    ) -> int:
        stops.append(stop)
        return run(settings, replace(environment, stored_step=None), None, None, GroupMember())

    def join(*_: object, stopping: Callable[[], bool]) -> bool:
        assert not stopping()
        stops[0].abandon()
        return when == "joined" or not stopping()

    monkeypatch.setattr(command, "launch_stored", launch_in_copy)
    monkeypatch.setattr(command, "NodeProcesses", None)
    monkeypatch.setattr(command, "join", join)
    settings = LaunchSettings(2, 1, 1, ("127.0.0.1", 29500), ("train", "-d", str(tmp_path)))
    assert launch(settings, TaskEnvironment(fingerprint=FINGERPRINT, stored_step=STORED)) == 143
