"""File ``experiment-status.json``, which holds an experiment's status as on a cluster, and its lock."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from maskrcnn_operator.api.base import API_VERSION, KIND
from maskrcnn_operator.api.manifest import details_problem
from maskrcnn_operator.api.status import ExperimentStatus, format_time, utc
from maskrcnn_operator.api.text import one_line
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import read_regular, replace_file
from maskrcnn_trainer.shared.identifiers import IDENTIFIER, IDENTIFIER_FORM

log = logging.getLogger(__name__)

EXPERIMENT_STATUS_FILE = "experiment-status.json"
LOCK_FILE = ".lock"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class RunIdentity:
    """Identity of the experiment of a status file, by which its attempts are ordered and its results owned.

    Attributes:
        uid: random, as the API server gives an object one.
        created: time at which the status file was made, in whole seconds.
        owner_id: owner of the results in object storage.
    """

    uid: str
    created: datetime
    owner_id: str

    @classmethod
    def new(cls) -> RunIdentity:
        """Return the identity of an experiment that has no status file yet."""
        return cls(str(uuid.uuid4()), datetime.now(UTC).replace(microsecond=0), str(uuid.uuid4()))


class StatusStore:
    """Status of one experiment in its directory; a context that keeps other processes from running the experiment.

    Args:
        directory: holds the status file and its lock.
        name: of the experiment.
        url: of a workspace in object storage; None if the workspace is a directory.
        owner_id: replaces the recorded owner; None to keep it.

    Attributes:
        identity: as recorded, or a new one.
        status: as last written.

    Raises:
        InvalidInput: on entering, if another process runs the experiment, the file isn't a valid status, or it is that
            of another experiment or workspace.
    """

    def __init__(self, directory: Path, name: str, *, url: str | None = None, owner_id: str | None = None) -> None:
        self.directory, self.name, self.url, self._owner_id = directory, name, url, owner_id
        self.identity = RunIdentity.new()
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
            metadata = content["metadata"]
            identity, place = _identity(metadata, self.identity), (metadata.get("name"), metadata.get("workspace"))
            status = ExperimentStatus.model_validate_json(json.dumps(content["status"]), strict=True)
        except FileNotFoundError:
            self._use(self.identity)
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(f"{self.file} isn't a valid experiment status ({_why(error)}): move it away") from error
        self._refuse_another_place(*place)
        self.status = status
        self._use(identity)

    def _refuse_another_place(self, name: object, url: object) -> None:
        if url == self.url and (url is None or name == self.name):
            return
        where = "a workspace that is a directory" if url is None else f"the workspace {one_line(url, 200)}"
        remedy = "leave --state-dir out, or give another directory" if self.url else "give another --workspace"
        raise InvalidInput(f"{self.file} is the status of experiment {one_line(name, 64)} in {where}: {remedy}")

    def _use(self, identity: RunIdentity) -> None:
        if self._owner_id is not None and self._owner_id != identity.owner_id:
            if self.file.exists():
                log.warning("The owner id %s replaces %s of %s", self._owner_id, identity.owner_id, self.file)
            identity = replace(identity, owner_id=self._owner_id)
        self.identity = identity

    def write(self, status: ExperimentStatus) -> None:
        """Replace the status file atomically."""
        content = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": self.name,
                "uid": self.identity.uid,
                "creationTimestamp": format_time(self.identity.created),
                "ownerId": self.identity.owner_id,
                **({"workspace": self.url} if self.url is not None else {}),
            },
            "status": status.to_json(),
        }
        replace_file(self.file, (json.dumps(content, indent=2) + "\n").encode())
        self.status = status


def _identity(metadata: Mapping[str, Any], new: RunIdentity) -> RunIdentity:
    """Return the recorded identity; a release before results in object storage recorded only the uid.

    Raises:
        KeyError, ValueError: a value is absent or invalid.
    """
    created, owner_id = metadata.get("creationTimestamp"), metadata.get("ownerId")
    if owner_id is not None and not (isinstance(owner_id, str) and IDENTIFIER.fullmatch(owner_id)):
        raise _InvalidMember(f"metadata.ownerId must be {IDENTIFIER_FORM}")
    return RunIdentity(
        str(metadata["uid"]),
        new.created if created is None else _time(created),
        new.owner_id if owner_id is None else owner_id,
    )


def _time(value: object) -> datetime:
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            return utc(datetime.fromisoformat(value))
    except ValueError:
        pass
    raise _InvalidMember("metadata.creationTimestamp must be a time, such as 2026-01-31T12:00:00Z")


class _InvalidMember(ValueError):
    pass


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (RecursionError, "it is nested too deeply"),
    (UnicodeDecodeError, "it isn't UTF-8"),
    (ValueError, "a number in it is too large"),
)


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
    if isinstance(error, _InvalidMember):
        return str(error)
    return next((why for kind, why in _REASONS if isinstance(error, kind)), "it has no metadata.uid or status")
