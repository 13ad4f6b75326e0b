"""Attempt of a step as a local process, in its own process group."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from maskrcnn_operator.local.old_logs import remove_old_logs
from maskrcnn_operator.local.records import RecordFollower
from maskrcnn_trainer.shared.files import read_regular, replace_file
from maskrcnn_trainer.shared.messages import RUN_FILE, STATUS_FILE, TERMINATION_FILE, RunFileKey, notices_name
from maskrcnn_trainer.shared.parent_death import end_with_parent

_log = logging.getLogger(__name__)

UNCLAIMED_LOGS = ".logs"
"""Folder in an experiment's directory for logs of attempts that couldn't claim their results directory."""

_ATTEMPT = re.compile(r"[a-z0-9][a-z0-9-]*-\d+")
_STAGED_SPEC, _STAGED_LOG = "spec.yaml", "output.log"
_STAGED = (_STAGED_SPEC, _STAGED_LOG, TERMINATION_FILE)


def trainer_command() -> tuple[str, ...]:
    """Return the command ``maskrcnn`` of this environment: the script next to the interpreter, else the module."""
    script = Path(sys.executable).with_name("maskrcnn")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "maskrcnn_trainer.cli")


def start_process(
    arguments: Sequence[str], environment: Mapping[str, str], output: IO[bytes], errors: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start a trainer command in a process group of its own; it ends with this process.

    Args:
        arguments: command line.
        environment: all its environment variables.
        output: file that receives its output.
        errors: file that receives its errors; None for that of the output.

    Raises:
        OSError: the process can't be started.
    """
    return subprocess.Popen(
        list(arguments),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if errors is None else errors,
        process_group=0,
        # after SIGKILL of the run, a training must not continue unattended
        preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - no thread of this process holds a lock here
    )


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to all processes in the group of a process; none may be left."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


@dataclass(frozen=True)
class Files:
    """Files of one attempt.

    Attributes:
        directory: the step's results directory, or the working directory of results in object storage.
        staging: directory of the log until the task has claimed the results directory. To claim it, the task may move
            its old content aside.
        attempt: number of the attempt.
        published: whether the results are in object storage; the directory is removed once they are complete.
    """

    directory: Path
    staging: Path
    attempt: int
    published: bool = False

    @property
    def spec(self) -> Path:
        """Return the file of the merged spec."""
        return self.staging / _STAGED_SPEC

    @property
    def staged_log(self) -> Path:
        """Return the log file until the results directory is claimed."""
        return self.staging / _STAGED_LOG

    @property
    def unclaimed_log(self) -> Path:
        """Return the log file if the attempt can't claim the results directory, which may hold a user's files."""
        return self.staging.parent.parent / UNCLAIMED_LOGS / f"{self.directory.name}.attempt-{self.attempt}.log"

    @property
    def termination_log(self) -> Path:
        """Return the file of the termination message.

        An attempt that can't claim a directory writes no message in it.
        """
        return (self.staging if self.published else self.directory) / TERMINATION_FILE

    @property
    def notices(self) -> Path:
        """Return the file with warnings about publishing."""
        return self.directory.with_name(notices_name(self.directory.name))

    @property
    def log(self) -> Path:
        """Return the log file once the results directory is claimed."""
        return self.unclaimed_log if self.published else self.directory / "logs" / f"attempt-{self.attempt}.log"


class AttemptProcess:
    """Running attempt, whose output goes to a log file and whose ``status.json`` is followed.

    Attributes:
        fingerprint: the first one in ``run.json`` once the attempt has claimed its results directory.
        records: new records of ``status.json``.
        notices: new warnings about publishing.
        started: when it was started, aware, in whole seconds.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        files: Files,
        records: RecordFollower,
        *,
        uid: str,
        fingerprint: str,
        started: datetime,
    ) -> None:
        self._process = process
        self.files, self.records = files, records
        self.notices = RecordFollower(files.notices)
        self.uid, self.fingerprint, self.started = uid, fingerprint, started
        self.ended: datetime | None = None
        self.stopping = False
        self._published: Path | None = None

    @classmethod
    def start(
        cls, arguments: Sequence[str], environment: Mapping[str, str], files: Files, *, uid: str, fingerprint: str
    ) -> AttemptProcess:
        """Start an attempt.

        Args:
            arguments: command line.
            environment: all its environment variables.
            files: files of the attempt; the folder for staging exists.
            uid: uid of the experiment.
            fingerprint: the first one in ``run.json`` once the attempt has claimed its results directory.

        Raises:
            OSError: the process can't be started.
        """
        # before the process, whose first record would be taken for one of an earlier attempt
        files.notices.unlink(missing_ok=True)
        records = RecordFollower(files.directory / STATUS_FILE)
        started = datetime.now(UTC).replace(microsecond=0)
        with files.staged_log.open("xb") as output:
            process = start_process(arguments, environment, output)
        return cls(process, files, records, uid=uid, fingerprint=fingerprint, started=started)

    def poll(self) -> int | None:
        """Return the exit code, 128 + signal if a signal ended the process, or None while it runs."""
        code = self._process.poll()
        self._publish_log(code)
        if code is None:
            return None
        if self.ended is None:
            self.ended = datetime.now(UTC).replace(microsecond=0)
            # processes that outlive the group's leader are of no use
            signal_group(self._process, signal.SIGKILL)
        return code if code >= 0 else 128 - code

    def clear(self) -> None:
        """Remove the staged files of the attempt after its end, once its termination message was read."""
        _clear(self.files.staging)

    def stop(self) -> None:
        """Send SIGTERM to the launcher, which forwards it to its processes; do nothing if it was sent before."""
        if not self.stopping and self._process.poll() is None:
            self.stopping = True
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole process group."""
        self.stopping = True
        if self._process.poll() is None:
            signal_group(self._process, signal.SIGKILL)

    @property
    def log(self) -> Path:
        """Return the current path of the log file."""
        return self._published or self.files.staged_log

    def _publish_log(self, code: int | None) -> None:
        if self._published:
            return
        claimed = self._claimed()
        if self.files.published:
            # the records of earlier attempts are loaded from the store before the claim of the directory
            self.records.skip()
        if code is None and not claimed:
            return
        # nothing is written to a directory that the attempt couldn't claim
        preferred = (self.files.log,) if claimed or code == 0 else ()
        for log in dict.fromkeys((*preferred, self.files.unclaimed_log)):
            try:
                self._move_log_to(log)
            except OSError as error:
                # such as a results directory on another volume, or one that has become read-only
                _log.warning("The log of attempt %d can't be moved to %s: %s", self.files.attempt, log, error.strerror)
            else:
                self._published = log
                return
        self._published = self.files.staged_log

    def _move_log_to(self, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.parent.is_symlink():
            raise OSError(errno.ELOOP, f"{log.parent} is a link", str(log))
        if self.files.spec.exists():
            replace_file(log.with_suffix(".spec.yaml"), self.files.spec.read_bytes())
        if self.files.staged_log.exists():
            self.files.staged_log.replace(log)
        if self.files.published:
            remove_old_logs(log.parent, self.files.directory.name)

    def _claimed(self) -> bool:
        try:
            run = json.loads(read_regular(self.files.directory / RUN_FILE))
            found = (run[RunFileKey.EXPERIMENT_UID], run[RunFileKey.ATTEMPT], run[RunFileKey.FINGERPRINT])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        return bool(found == (self.uid, self.files.attempt, self.fingerprint))


def clear_staging(folder: Path) -> None:
    """Delete the files of attempts in the staging folder, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        for attempt in [] if folder.is_symlink() else list(folder.iterdir()):
            if _is_of_an_attempt(attempt):
                _clear(attempt)
        folder.rmdir()


def _is_of_an_attempt(staging: Path) -> bool:
    """Return whether a folder has the name of an attempt and holds only files that attempts write."""
    return (
        _ATTEMPT.fullmatch(staging.name) is not None
        and staging.is_dir()
        and not staging.is_symlink()
        and all(file.name in _STAGED and file.is_file() and not file.is_symlink() for file in staging.iterdir())
    )


def _clear(staging: Path) -> None:
    with contextlib.suppress(OSError):
        if not staging.is_symlink():
            for name in _STAGED:
                (staging / name).unlink(missing_ok=True)
            staging.rmdir()
