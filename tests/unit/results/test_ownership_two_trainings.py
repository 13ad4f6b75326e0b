"""Exclusion of a second training in the same results directory."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.results.ownership import claim, only_training
from maskrcnn_trainer.shared.variables import TOKEN_VARIABLE
from maskrcnn_trainer.spec.task_table import TRAINING_LOCK

HOLDER = (
    "import sys; from pathlib import Path; from maskrcnn_trainer.results.ownership import only_training\n"
    "with only_training(Path(sys.argv[1]), None): print('locked', flush=True); sys.stdin.read()"
)
FINGERPRINT = "aaaaaaaa111111111111111111111111-v1"


@contextmanager
def training_in(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Start another process that trains in a directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_second_training_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with training_in(tmp_path / "out") as first:
        with (
            pytest.raises(TryAgain, match=rf"another training \(process {first.pid} on ") as caught,
            only_training(tmp_path / "out", None),
        ):
            pass
        assert (caught.value.exit_code, caught.value.reason) == (75, "DirectoryInUse")
        with only_training(tmp_path / "other", None):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
        with only_training(tmp_path / "out", None):
            assert (tmp_path / "out" / TRAINING_LOCK).read_text().startswith(f"process {os.getpid()} on ")
        assert list((tmp_path / "out").iterdir()) == []


def test_the_train_task_that_is_refused_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)  # a launch in the same process sets it
    (tmp_path / "spec.yaml").write_text("totalSteps: 3\n")
    with training_in(tmp_path / "out"):
        assert main(["train", "-e", str(tmp_path / "spec.yaml"), "-d", str(tmp_path / "out")]) == 75
    assert "writes there; wait for its end" in caplog.text
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [TRAINING_LOCK]


def test_a_run_with_a_token_locks_nothing_and_waits_for_no_lock(tmp_path: Path) -> None:
    token = claim(tmp_path, experiment_uid="uid", attempt=1, fingerprint=FINGERPRINT).token
    with only_training(tmp_path, token), only_training(tmp_path, token):
        pass
    assert not (tmp_path / TRAINING_LOCK).exists()


def test_a_training_by_hand_is_refused_where_a_step_of_an_experiment_may_run(tmp_path: Path) -> None:
    claim(tmp_path, experiment_uid="uid", attempt=1, fingerprint=FINGERPRINT)
    with (
        pytest.raises(InvalidInput, match=r"belongs to a step of an experiment \(run\.json\)"),
        only_training(tmp_path, None),
    ):
        pass
    (tmp_path / "run.json").unlink()
    with only_training(tmp_path, None):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EACCES])
def test_file_system_without_locks_is_used_with_a_warning(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with only_training(tmp_path, None):
        pass
    assert f"{TRAINING_LOCK} cannot be locked ({os.strerror(number)})" in caplog.text
