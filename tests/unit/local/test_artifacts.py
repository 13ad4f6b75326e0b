"""Tests of the operator's command about results, which is the trainer's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn_operator.cli import main
from maskrcnn_operator.local import artifacts


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "maskrcnn_operator.cli", "artifacts", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_is_that_of_the_trainers_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: maskrcnn artifacts")


def test_exit_code_and_message_are_those_of_the_trainers_command() -> None:
    done = run("/a/path", "list")
    assert done.returncode == 64
    assert "URL: must begin with s3://, gs://, or az://" in done.stderr


def test_all_arguments_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(artifacts, "trainer_command", lambda: ("trainer",))
    monkeypatch.setattr(os, "execv", lambda path, command: started.append(command))
    given = ["s3://b/p", "get", "exp/train", "-o", "out", "--store-config", "c.yaml"]
    artifacts.run_artifacts(given)
    assert started == [("trainer", "artifacts", *given)]


def test_trainer_that_cannot_be_started_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "maskrcnn")
    monkeypatch.setattr(artifacts, "trainer_command", lambda: (absent,))
    with pytest.raises(SystemExit) as end:
        main(["artifacts", "s3://b"])
    assert end.value.code == 64
    assert f"{absent} can't be started: No such file or directory" in capsys.readouterr().err
