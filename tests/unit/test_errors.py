"""Errors of the operating system as one sentence with the right exit code."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import InvalidInput, TryAgain, as_task_error, describe_error
from maskrcnn_trainer.shared.files import LONGEST_NAME
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import write_atomically
from maskrcnn_trainer.task.reporter import task_report


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (errno.EACCES, 64, f"/w/x: Permission denied for user {os.geteuid()}, group {os.getegid()}; give this user"),
        (errno.EPERM, 64, "Operation not permitted for user"),
        (errno.ENAMETOOLONG, 64, "a name can have 255 bytes"),
        (errno.ELOOP, 64, "give the path of the file itself"),
        (errno.EROFS, 64, "give a path on a writable file system"),
        (errno.ENOTDIR, 64, "part of the path is a file"),
        (errno.EISDIR, 64, "give a file"),
        (errno.ENOENT, 64, "correct the path"),
        (errno.EEXIST, 64, "move it"),
        (errno.EFBIG, 64, "ulimit -f"),
        (errno.ENOSPC, 70, "/w/x: no space left"),
        (errno.EDQUOT, 70, "/w/x: no space left"),
        (errno.EIO, 75, "/w/x: the storage failed (Input/output error)"),
        (errno.ESTALE, 75, "the storage failed"),
        (errno.ENOTCONN, 75, "the storage failed"),
        (errno.ENFILE, 75, "the storage failed"),
    ],
)
def test_error_with_a_path_is_one_sentence(number: int, code: int, said: str) -> None:
    told = as_task_error(OSError(number, os.strerror(number), "/w/x"))
    assert told is not None
    assert told.exit_code == code
    assert said in str(told)
    assert str(told).startswith("/w/x: ")


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), "/w/x")])
def test_lack_of_memory_is_not_tried_again_and_names_what_to_lower(error: Exception) -> None:
    code, reason, message = describe_error(error)
    assert (code, reason) == (64, "OutOfMemory")
    assert "Try a smaller imageSize or trainBatchSize" in message


def test_too_many_open_files_names_the_limit() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    code, _, message = describe_error(OSError(errno.EMFILE, "Too many open files", "/w/x"))
    assert code == 64
    assert f"the limit is {limit}" in message


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_failed_disk_is_known_without_a_path(number: int) -> None:
    """The error of a write to an open file has no path."""
    assert isinstance(as_task_error(OSError(number, os.strerror(number))), TryAgain)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ETIMEDOUT, "timed out"), OSError("no errno"), OSError(errno.ENOTSOCK, "x", "/w"), KeyError()],
)
def test_other_errors_stay_faults_of_the_program(error: Exception) -> None:
    assert as_task_error(error) is None
    assert describe_error(error)[0] == 1


def test_a_path_with_a_newline_stays_on_one_line() -> None:
    told = as_task_error(OSError(errno.EACCES, "Permission denied", "/w/a\nb"))
    assert "\n" not in str(told)


def test_a_refused_file_is_logged_without_a_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended, task_report(TaskName.PRUNE, tmp_path, TaskEnvironment()):
        (tmp_path / ("x" * 300)).read_bytes()
    assert ended.value.code == 64
    assert "File name too long" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("name", ["x" * 250 + ".tlt", "犬" * 83 + ".onnx"])
def test_a_file_with_the_longest_name_is_written(tmp_path: Path, name: str) -> None:
    assert len(os.fsencode(name)) <= LONGEST_NAME
    write_atomically(tmp_path / name, b"whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_middle_of_very_long_value_is_left_out() -> None:
    path = "/workspace/" + "d/" * 150 + "a.json"
    assert str(InvalidInput(f"{path} is empty")) == f"{path} is empty"
    told = str(InvalidInput(f"--num-shards {'9' * 5000}: must be 1 to 10,\n  {'x' * 5000}.png is absent"))
    assert told.startswith("--num-shards 999")
    assert "9...9" in told
    assert "xxx.png is absent" in told
    assert len(told) < 700
