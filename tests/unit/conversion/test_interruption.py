"""Conversions that are killed, stopped, or lose their workers, in separate processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.data.records import index_records

IMAGES = 40

# Converts with two processes; after ten images it creates the file "ready" and waits until that is removed.
SCRIPT = """
import pathlib, sys, time
from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.errors import TaskError

def progress(phase, done, total):
    if phase == "Converting" and done == 10:
        pathlib.Path("ready").touch()
        while pathlib.Path("ready").exists():
            time.sleep(0.01)

if __name__ == "__main__":
    try:
        convert_dataset("images", "set.json", "out", num_shards=3, processes=2, progress=progress)
    except TaskError as error:
        print(error)
        sys.exit(error.exit_code)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "out").mkdir()
    images = []
    for i in range(IMAGES):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 30, "height": 20})
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "set.json").write_text(json.dumps(content))
    (tmp_path / "convert.py").write_text(SCRIPT)
    return tmp_path


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


Start = Callable[[], tuple[subprocess.Popen[str], list[psutil.Process]]]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Return a function that starts a conversion and returns it with its workers after ten images; kill all."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        process = subprocess.Popen(
            [sys.executable, "convert.py"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,  # so that workers that outlive it can be killed
            # A shell that starts the tests in the background ignores SIGINT for them, and a child would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads
        )
        started.append(process)
        wait_for("ten images", lambda: (folder / "ready").exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        children = psutil.Process(process.pid).children(recursive=True)
        return process, [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir() if not path.name.startswith("."))


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir() if path.name.startswith("."))


def test_killed_midway_nothing_is_visible_and_the_next_run_is_whole(folder: Path, start: Start) -> None:
    process, workers = start()
    assert len(workers) == 2
    assert visible(folder) == []
    assert len(hidden(folder)) == 1
    process.kill()
    process.wait()
    wait_for("workers end with their parent", lambda: not any(worker.is_running() for worker in workers))
    assert visible(folder) == []
    convert_dataset(folder / "images", folder / "set.json", folder / "out", num_shards=4, processes=1)
    assert hidden(folder) == []
    assert visible(folder) == [f"set-0000{i}-of-00004.tfrecord" for i in range(4)]
    assert len(index_records(f"{folder}/out/set-*")) == IMAGES


def test_a_running_conversion_keeps_its_folder(folder: Path, start: Start) -> None:
    process, _ = start()
    convert_dataset(folder / "images", folder / "set.json", folder / "out", num_shards=4, processes=1)
    assert len(hidden(folder)) == 1
    (folder / "ready").unlink()
    assert process.wait(60) == 0
    assert hidden(folder) == []
    assert visible(folder) == [f"set-0000{i}-of-00003.tfrecord" for i in range(3)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_stopped_midway_everything_is_cleaned_up(folder: Path, start: Start, number: signal.Signals, code: int) -> None:
    process, workers = start()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    if number == signal.SIGTERM:
        assert output.strip() == "Dataset convert was interrupted"
    assert list((folder / "out").iterdir()) == []
    assert not any(worker.is_running() for worker in workers)


def test_killed_worker_is_reported_as_out_of_memory(folder: Path, start: Start) -> None:
    process, workers = start()
    os.kill(workers[0].pid, signal.SIGKILL)
    # The pool ends the other worker as soon as it notices; until then all images could still be converted.
    wait_for("the end of the other worker", lambda: not any(map(is_alive, workers)))
    (folder / "ready").unlink()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert "one of 2 converting processes was killed, probably out of memory" in output
    assert list((folder / "out").iterdir()) == []
