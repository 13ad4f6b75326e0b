"""Tests of the replacement of this process by the trainer's command about results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn_operator.local import artifacts


def test_all_arguments_and_variables_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[tuple[str, ...], str, str]] = []
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setattr(artifacts, "trainer_command", lambda: ("trainer",))
    monkeypatch.setattr(os, "execve", lambda path, command, env: started.append((command, env["KEPT"], env["ADDED"])))
    given = ["s3://b/p", "get", "exp/train", "-o", "out", "--store-config", "c.yaml"]
    artifacts.run_artifacts(given, {"ADDED": "added"})
    assert started == [(("trainer", "artifacts", *given), "kept", "added")]


def test_trainer_that_cannot_be_started_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "maskrcnn")
    monkeypatch.setattr(artifacts, "trainer_command", lambda: (absent,))
    with pytest.raises(SystemExit) as end:
        artifacts.run_artifacts(["s3://b"])
    assert end.value.code == 64
    assert f"{absent} can't be started: No such file or directory" in capsys.readouterr().err
