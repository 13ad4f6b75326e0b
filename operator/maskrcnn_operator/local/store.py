"""File ``experiment-status.json``, which holds an experiment's status as on a cluster, and its lock."""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from maskrcnn_operator.api.base import API_VERSION, KIND
from maskrcnn_operator.api.manifest import details_problem
from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import read_regular, replace_file

EXPERIMENT_STATUS_FILE = "experiment-status.json"
LOCK_FILE = ".lock"
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class StatusStore:
    """Status of one experiment in its directory; a context that keeps other processes from running the experiment.

    Raises:
        InvalidInput: on entering, if another process runs the experiment or the file isn't a valid status.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.uid = str(uuid.uuid4())
        self.status = ExperimentStatus()
        self._lock: int | None = None

    @property
    def file(self) -> Path:
        """Return the path of the status file."""
        return self.directory / EXPERIMENT_STATUS_FILE

    def __enter__(self) -> StatusStore:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.directory / LOCK_FILE, _LOCK_FLAGS, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.__exit__(None, None, None)
            raise InvalidInput(f"{self.directory}: another maskrcnn-operator run uses this experiment") from None
        self._load()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _load(self) -> None:
        try:
            content = json.loads(read_regular(self.file))
            self.uid = str(content["metadata"]["uid"])
            self.status = ExperimentStatus.model_validate_json(json.dumps(content["status"]), strict=True)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidInput(f"{self.file} isn't a valid experiment status ({_why(error)}): move it away") from error

    def write(self, status: ExperimentStatus) -> None:
        """Replace the status file atomically."""
        content = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": self.name, "uid": self.uid},
            "status": status.to_json(),
        }
        replace_file(self.file, (json.dumps(content, indent=2) + "\n").encode())
        self.status = status


def _why(error: Exception) -> str:
    """Return why a file isn't a valid status: the first problem, and the number of others."""
    if isinstance(error, ValidationError):
        first, *others = error.errors(include_url=False)
        more = f", and {len(others)} more" if others else ""
        return f"{details_problem(first, 'status')}{more}"
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}: invalid JSON"
    if isinstance(error, OSError):
        return error.strerror or "it can't be read"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it isn't UTF-8"
    return "a number in it is too large" if isinstance(error, ValueError) else "it has no metadata.uid or status"
