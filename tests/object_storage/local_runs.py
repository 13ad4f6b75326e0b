"""``maskrcnn-operator run`` of small experiments, and ``maskrcnn artifacts``, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.object_storage.commands import environment

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900
Change = Callable[[dict[str, Any]], None]


def generate_shapes(folder: Path, *, train: int, val: int) -> None:
    """Write the generated pictures of examples/shapes."""
    generate = [sys.executable, str(ROOT / "examples" / "shapes" / "generate.py"), "--output", str(folder)]
    subprocess.run([*generate, "--train", str(train), "--val", str(val)], check=True)


def files_below(folder: Path, prefix: str = "") -> dict[str, bytes]:
    """Return the content of all files by their path below a folder, with a prefix."""
    return {
        f"{prefix}{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@dataclass(frozen=True)
class LocalRun:
    """Experiment on this machine.

    Attributes:
        manifest: its file.
        workspace: a directory, or a URL.
        options: further flags of ``run``.
    """

    manifest: Path
    workspace: str
    options: tuple[str, ...] = ()

    def run(self, *options: str, expected: int = 0) -> str:
        """Run the experiment, and return the output.

        Args:
            options: flags of this run alone.
            expected: exit code.
        """
        done = subprocess.run(
            [
                *(sys.executable, "-m", "maskrcnn_operator.cli", "run", str(self.manifest)),
                *("--workspace", self.workspace, *self.options, *options),
            ],
            env={**environment(), "CUDA_VISIBLE_DEVICES": "-1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == expected, done.stdout
        return done.stdout

    def edit(self, change: Change) -> None:
        """Change the manifest."""
        content = yaml.safe_load(self.manifest.read_text())
        change(content["spec"])
        self.manifest.write_text(yaml.safe_dump(content, sort_keys=False))


def steps_of(status_file: Path) -> dict[str, dict[str, Any]]:
    """Return the status of each step by its name."""
    status = json.loads(status_file.read_text())["status"]
    return {step["name"]: step for step in status["steps"]}


def artifacts(url: str, config: Path, action: str, *arguments: str) -> str:
    """Run an action of ``maskrcnn artifacts``, and return its output.

    Args:
        url: of the workspace.
        config: file of --store-config.
        action: such as ``list``.
        arguments: of the action.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "maskrcnn_trainer.cli", "artifacts", url, action, *arguments),
            *("--store-config", str(config)),
        ],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
