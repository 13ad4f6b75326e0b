"""Requests, speed, and table of the benchmark of publishing."""

from __future__ import annotations

import json

import pytest

from measured_command import CommandUse, ProcessUse
from object_storage_publishing import FULL, Training, cost, requests_in, role_of, speed_in, table
from object_storage_server import Served

POINTER = "w/bench/train/run.json"


def key(number: int, name: str) -> str:
    return f"w/bench/train/o/1-aa-{number}-{name}"


def checkpoint(number: int, second: float) -> list[Served]:
    """Return the requests of a set with one small file, a checkpoint, and its manifest."""
    model = key(number + 1, f"model.step-{number}.tlt")
    return [
        Served("PutObject", key(number, "status.json"), second),
        Served("CreateMultipartUpload", model, second),
        Served("UploadPart", model, second + 1),
        Served("CompleteMultipartUpload", model, second + 1),
        Served("PutObject", key(number + 2, "manifest.json"), second + 2),
        Served("PutObject", POINTER, second + 2),
    ]


def training(*, task: float, launch: float, helper: float = 0.0, speed: float = 2.0) -> Training:
    roles = {"task": ProcessUse(task, 10**9), "launch": ProcessUse(launch, 60_000_000)}
    if helper:
        roles["helper"] = ProcessUse(helper, 90_000_000)
    return Training(CommandUse(100.0, task + launch + helper, roles), speed, 350_000_000)


def test_requests_are_those_of_the_claim_and_of_each_checkpoint() -> None:
    claim = [Served("GetObject", POINTER, 0.0), Served("PutObject", POINTER, 0.0), Served("GetObject", "owner", 0.0)]
    cleaning = Served("ListObjectsV2", "-", 13.0)
    end = [Served("PutObject", key(9, "result.json"), 313.0), Served("PutObject", POINTER, 314.0)]
    found = requests_in([*claim, *checkpoint(1, 10.0), cleaning, *checkpoint(5, 310.0), *end])
    assert found.start == 3
    assert found.checkpoints == (7, 8)
    assert found.operations["PutObject"] == 3
    assert found.operations["ListObjectsV2"] == 1
    assert (found.distances, found.durations) == ((300.0,), (2.0, 2.0))


def test_speed_leaves_out_the_window_of_the_compilation() -> None:
    entries = [{"losses": {}, "images_per_second": speed} for speed in (0.1, 2.0, 4.0)]
    history = "\n".join(map(json.dumps, [*entries, {"metrics": {}}]))
    assert speed_in(history) == pytest.approx(8 / 3)


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["python", "-m", "maskrcnn_trainer.cli", "launch", "--", "train"], "launch"),
        (["python", "-m", "maskrcnn_trainer.cli", "train"], "task"),
        (["python", "-P", "-m", "maskrcnn_trainer.object_store.helper_main"], "helper"),
    ],
)
def test_roles(command: list[str], role: str) -> None:
    assert role_of(command) == role


def test_table_has_ratios_to_the_directory() -> None:
    lines = table(FULL, 50, [training(task=99, launch=1)], [training(task=101, launch=2, helper=2)], 100).splitlines()
    assert lines[2].split()[2:6] == ["100.0", "1.000", "2.000", "1.000"]
    assert lines[3].split() == ["published", "100", "105.0", "1.050", "2.000", "1.000", "101.0", "2.00", "2.00"]


def test_cost_of_a_checkpoint_is_that_of_launch_and_helper() -> None:
    text = cost([training(task=100, launch=1)], [training(task=120, launch=2, helper=3)], 2, 100.0)
    assert "4.00 CPU s more than with a directory, 2.00 a checkpoint" in text
    assert "every 100 s, in which the task uses 100 CPU s: 1.020 times" in text
    assert "every 300 s, in which the task uses 300 CPU s: 1.007 times" in text
    assert "helper 90 MB (aim: 200), launch 60 MB" in text
