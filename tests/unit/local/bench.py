"""Workspace for local runs with a fake trainer."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from rich.console import Console

from maskrcnn_operator.local.command import run_manifest
from maskrcnn_operator.local.runner import LOCAL_SETTINGS
from maskrcnn_operator.local.store_workspace import StoreOptions
from maskrcnn_trainer.shared.object_url import ObjectUrl

FAKE = Path(__file__).with_name("fake_trainer.py")
FAST = replace(LOCAL_SETTINGS, back_off_base=timedelta(milliseconds=10))

DEADLINE = 60.0
BENCH_VARIABLE = "TEST_BENCH"

MANIFEST: dict[str, Any] = {
    "apiVersion": "maskrcnn.dev/v1alpha1",
    "kind": "MaskRCNNExperiment",
    "metadata": {"name": "shapes"},
    "spec": {
        "workspace": {"persistentVolumeClaim": {"claimName": "maskrcnn"}},
        "maxRestarts": 2,
        "experiment": {
            "initLearningRate": 0.01,
            "totalSteps": 10,
            "checkpoint": "/workspace/weights/resnet.npz",
            "dataConfig": {"imageSize": [128, 128], "numClasses": 4},
        },
        "steps": [
            {
                "name": "convert",
                "datasetConvert": {"imageDir": "/workspace/raw", "annotationsFile": "/data/train.json"},
            },
            {
                "name": "convert-val",
                "datasetConvert": {
                    "imageDir": "/workspace/raw",
                    "annotationsFile": "/workspace/raw/val.json",
                    "split": "val",
                },
            },
            {"name": "train", "train": {}, "nodes": 2},
            {"name": "evaluate", "evaluate": {}},
        ],
    },
}


class Bench:
    """Workspace with a manifest, and the commands that were started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "ws"
        self.manifest = json.loads(json.dumps(MANIFEST))
        self.commands: list[subprocess.Popen[bytes]] = []
        self.store_config: Path | None = None
        self.page: Path | None = None

    @property
    def home(self) -> Path:
        return self.workspace / "shapes"

    @property
    def place(self) -> Path | ObjectUrl:
        """Return the value of --workspace."""
        return self.workspace

    @property
    def store_options(self) -> StoreOptions:
        return StoreOptions()

    def write(self) -> Path:
        file = self.folder / "experiment.yaml"
        file.write_text(yaml.safe_dump(self.manifest))
        return file

    def run(self, *, jobs: int = 1, width: int = 200, **behavior: list[object]) -> int:
        os.environ["FAKE_TRAINER"] = json.dumps(behavior)
        self.output = io.StringIO()
        console = Console(file=self.output, width=width)
        return run_manifest(
            self.write(),
            self.place,
            jobs=jobs,
            console=console,
            trainer=(sys.executable, str(FAKE)),
            store_config=self.store_config,
            store_options=self.store_options,
            output=self.page,
            settings=FAST,
        )

    def start(self, behavior: dict[str, list[object]], *options: str) -> subprocess.Popen[bytes]:
        """Start the command as a separate process, so that it can receive signals."""
        program = (
            "import sys, pathlib;"
            "from maskrcnn_operator.local import command;"
            f"command.trainer_command = lambda: ({sys.executable!r}, {str(FAKE)!r});"
            "from maskrcnn_operator.cli import main; sys.exit(main(sys.argv[1:]))"
        )
        arguments = ["run", str(self.write()), "--workspace", str(self.place), *options]
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "FAKE_TRAINER": json.dumps(behavior), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.commands.append(process)
        return process

    def kill_all(self) -> None:
        """Kill all processes that were started on this bench, including trainers that outlived their command."""
        for process in self.commands:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        while left := self.left():
            for process in left:
                process.kill()
            psutil.wait_procs(left)

    def left(self) -> list[psutil.Process]:
        """Return the running processes of this bench, except pytest itself."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and process.environ().get(BENCH_VARIABLE) == str(self.folder)
        except psutil.Error:
            return False

    def status(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.home / "experiment-status.json").read_text())
        return dict(content["status"])

    def step(self, name: str) -> dict[str, Any]:
        return next(step for step in self.status()["steps"] if step["name"] == name)

    def conditions(self) -> dict[str, str]:
        return {condition["type"]: condition["status"] for condition in self.status()["conditions"]}

    def calls(self) -> list[dict[str, Any]]:
        return _lines(self.home / "calls.jsonl")

    def reports(self) -> list[dict[str, Any]]:
        """Return the calls of ``maskrcnn report``."""
        return _lines(self.home / "reports.jsonl")

    def started(self) -> list[str]:
        return [call["step"] for call in self.calls()]


class StoreBench(Bench):
    """Bench whose workspace is in object storage, with the directory ``store`` in place of the bucket."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.state_dir = folder / "state"
        self.owner_id: str | None = None
        self.take_over_from: str | None = None

    @property
    def home(self) -> Path:
        return self.state_dir

    @property
    def working(self) -> Path:
        return self.state_dir / ".working"

    @property
    def place(self) -> Path | ObjectUrl:
        return ObjectUrl("s3", "bucket", "prefix")

    @property
    def store_options(self) -> StoreOptions:
        return StoreOptions(self.state_dir, self.owner_id, self.take_over_from)

    def calls(self) -> list[dict[str, Any]]:
        return _lines(self.folder / "calls.jsonl")

    def reports(self) -> list[dict[str, Any]]:
        return _lines(self.folder / "reports.jsonl")

    def listings(self) -> list[dict[str, Any]]:
        """Return the calls of ``maskrcnn artifacts``."""
        return _lines(self.folder / "listings.jsonl")

    def owner(self) -> dict[str, Any]:
        """Return the owner that the store has."""
        return dict(json.loads((self.folder / "store" / "owner").read_text()))

    def metadata(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "experiment-status.json").read_text())["metadata"])


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(what: str, condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until the condition holds; fail if ``process`` ends before."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended with {process.returncode} before {what}: {process.communicate()[0].decode()}")
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.02)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings and errors that were logged."""
    return [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
