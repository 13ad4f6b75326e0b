"""Helpers to create results directories and to check the effect of a claim."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.results.ownership import claim

A = "aaaaaaaa111111111111111111111111-v1"
B = "bbbbbbbb222222222222222222222222-v1"
C = "cccccccc333333333333333333333333-v1"
D = "dddddddd444444444444444444444444-v1"


def start(directory: Path, fingerprint: str, attempt: int = 1, *task: str) -> str:
    run = claim(directory, experiment_uid="uid", attempt=attempt, fingerprint=fingerprint, task=task)
    (directory / "status.json").write_text(fingerprint)
    return run.token


def finish(directory: Path, fingerprint: str, attempt: int = 1, *task: str) -> None:
    start(directory, fingerprint, attempt, *task)
    write(directory, "evaluations.json")


def folders(parent: Path) -> dict[str, str]:
    return {entry.name: (entry / "status.json").read_text() for entry in parent.iterdir() if entry.is_dir()}


def snapshot(root: Path) -> dict[str, object]:
    """Return every file and link below a directory with its content."""
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def write(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(name.encode())


def checkpoint(path: Path, fingerprint: str | None, key: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    step = int(path.stem.rpartition("-")[2])
    model = ModelFile({}, {}, {}, step, {"kernel": np.zeros(3, np.float32)}, state={"fingerprint": fingerprint})
    write_model_file(path, model, key)


def result(directory: Path, fingerprint: str | None, **artifacts: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    named = {name: {"path": path, "bytes": 1} for name, path in artifacts.items()}
    content = {"version": 1, "task": "train", "code": 0, "fingerprint": fingerprint, "artifacts": named}
    (directory / "result.json").write_text(json.dumps(content))


def assert_refused(directory: Path, fingerprint: str, *words: str, task: tuple[str, ...] = ()) -> None:
    """Check that a claim is refused with a message that has the words, and that nothing is changed."""
    before = snapshot(directory.parent)
    with pytest.raises(InvalidInput) as caught:
        claim(directory, experiment_uid="uid", attempt=1, fingerprint=fingerprint, task=task)
    assert caught.value.exit_code == 64
    for word in (str(directory), *words):
        assert word in str(caught.value)
    assert snapshot(directory.parent) == before
