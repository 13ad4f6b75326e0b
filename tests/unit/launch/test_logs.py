"""Copy of a node's output next to the results: its size limit, and errors that don't fail the task."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from maskrcnn_trainer.launch import LaunchSettings, launch
from maskrcnn_trainer.launch import logs as logs_module
from maskrcnn_trainer.launch.logs import KEPT_ATTEMPTS, KeptLog, is_log_of_other_node, log_file, remove_old_logs
from maskrcnn_trainer.launch.processes import NodeProcesses
from maskrcnn_trainer.results.ownership import await_claim, claim
from maskrcnn_trainer.task.environment import TaskEnvironment

FINGERPRINT = "a8c47326caeee986b816f946d049d9ad-v1"


def kept_log(path: Path, limit: int = 1000, ours: bool = True) -> KeptLog:
    return KeptLog(path, lambda: ours, limit_bytes=limit)


def test_two_halves_hold_the_newest_lines(tmp_path: Path) -> None:
    path = log_file(tmp_path, 1, 0)
    kept = kept_log(path, limit=200)
    for number in range(100):
        kept.write(b"line %02d\n" % number)
    kept.close()
    older = path.with_name(f"{path.name}.1")
    assert path.stat().st_size + older.stat().st_size <= 200
    text = older.read_bytes() + path.read_bytes()
    assert text.endswith(b"line 99\n")
    lines = text.splitlines()
    assert lines == [b"line %02d" % number for number in range(100 - len(lines), 100)]


def test_a_second_start_of_an_attempt_adds_to_the_log(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        kept = kept_log(tmp_path / "a.log")
        kept.write(text)
        kept.close()
    assert (tmp_path / "a.log").read_bytes() == b"first\nsecond\n"


def test_nothing_is_written_once_another_run_owns_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "_CHECK_SECONDS", 0.0)
    owner = [True]
    kept = KeptLog(tmp_path / "a.log", lambda: owner[0])
    kept.write(b"ours\n")
    owner[0] = False
    kept.write(b"theirs\n")
    owner[0] = True
    kept.write(b"never again\n")
    assert (tmp_path / "a.log").read_bytes() == b"ours\n"


def test_a_disk_that_is_full_ends_the_log_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    kept = kept_log(full)
    kept.write(b"text\n")
    kept.write(b"more\n")
    assert capsys.readouterr().err == "/dev/full: the log is no longer kept: No space left on device\n"


def test_folder_that_cannot_be_created_is_reported_without_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file")
    kept_log(log_file(tmp_path, 1, 0)).write(b"text\n")
    assert "the log is no longer kept" in capsys.readouterr().err


def test_logs_of_old_attempts_are_removed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    names = [f"attempt-{number}.node-{node}.log" for number in range(1, 14) for node in range(2)]
    for name in [*names, "attempt-1.node-0.log.1", "attempt-1.log", "tensorboard"]:
        (tmp_path / "logs" / name).touch()
    remove_old_logs(tmp_path, 13)
    left = {path.name for path in (tmp_path / "logs").iterdir()}
    last = [name for name in names if int(name.split(".")[0].removeprefix("attempt-")) > 13 - KEPT_ATTEMPTS]
    assert left == {*last, "attempt-1.log", "tensorboard"}


def test_every_process_is_in_the_log_with_its_rank_and_still_on_our_output(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    program = "import os, sys; print('out', os.environ['RANK']); print('err', os.environ['RANK'], file=sys.stderr)"
    kept = kept_log(tmp_path / "a.log")
    NodeProcesses.start([sys.executable, "-c", program], {4: {"RANK": "4"}, 5: {"RANK": "5"}}, kept).wait()
    lines = sorted((tmp_path / "a.log").read_bytes().splitlines())
    assert lines == [b"[4] err 4", b"[4] out 4", b"[5] err 5", b"[5] out 5"]
    assert sorted(capfdbinary.readouterr().out.splitlines()) == lines


def test_output_before_a_kill_is_in_the_log(tmp_path: Path) -> None:
    program = "import os; print('last line'); os.kill(os.getpid(), 9)"
    kept = kept_log(tmp_path / "a.log")
    NodeProcesses.start([sys.executable, "-c", program], {0: {}}, kept).wait()
    assert (tmp_path / "a.log").read_bytes() == b"last line\n"


def test_the_launcher_keeps_the_log_of_its_attempt(tmp_path: Path) -> None:
    environment = TaskEnvironment.from_environ(
        {
            "MASKRCNN_RESULTS_DIR": str(tmp_path / "train"),
            "MASKRCNN_FINGERPRINT": FINGERPRINT,
            "MASKRCNN_ATTEMPT": "3",
            "MASKRCNN_EXPERIMENT_UID": "uid",
        }
    )
    task = ("train", "-d", str(tmp_path / "train"), "-e", str(tmp_path / "absent.yaml"))
    code = launch(LaunchSettings(1, 0, 1, None, task, keep_logs=True), environment)
    assert code == 64
    text = log_file(tmp_path / "train", 3, 0).read_text()
    assert text.count("absent.yaml cannot be read") == 1


def test_a_node_that_waits_for_the_claim_can_be_stopped(tmp_path: Path) -> None:
    claim(tmp_path / "train", experiment_uid="uid", attempt=1, fingerprint=FINGERPRINT)
    asked = iter([False, False, True])
    found = await_claim(
        tmp_path / "train", experiment_uid="uid", attempt=2, stopping=lambda: next(asked), poll_seconds=0.001
    )
    assert found is None


def test_copy_has_the_rotated_part_first_and_only_the_end_of_a_long_log(tmp_path: Path) -> None:
    kept = kept_log(tmp_path / "a.log", limit=20)
    for line in (b"first 1\n", b"second\n", b"third\n"):
        kept.write(line)
    kept.copy_to(tmp_path / "copy", most=100)
    assert (tmp_path / "copy").read_bytes() == b"second\nthird\n"
    kept.copy_to(tmp_path / "copy", most=8)
    assert (tmp_path / "copy").read_bytes() == b"d\nthird\n"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("logs/attempt-1.node-1.log", True),
        ("logs/attempt-12.node-10.log.1", True),
        ("logs/attempt-1.node-0.log", False),
        ("logs/attempt-1.log", False),
        ("attempt-1.node-1.log", False),
        ("logs/x/attempt-1.node-1.log", False),
    ],
)
def test_log_of_another_node_is_known_by_its_name(path: str, *, expected: bool) -> None:
    assert is_log_of_other_node(path) is expected
