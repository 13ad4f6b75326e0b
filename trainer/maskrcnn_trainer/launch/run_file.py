"""What run.json and result.json say about a results directory."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from maskrcnn_trainer.artifacts import RESULT_FILE
from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.files import read_regular
from maskrcnn_trainer.launch.ours import IMAGES, RUN_FILE

_LARGEST = 1 << 20
"""Bytes; run.json has 200, result.json a few thousand."""

_FINGERPRINT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
"""A fingerprint becomes part of a directory's name."""


@dataclass(frozen=True)
class Run:
    """One start of one attempt at a step.

    Attributes:
        experiment_uid: uid of the resource, or of the local run's status file.
        attempt: counts from 1.
        fingerprint: what the results will be results of.
        token: drawn at each start; the right to write.
    """

    experiment_uid: str
    attempt: int
    fingerprint: str
    token: str

    def to_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "experimentUid": self.experiment_uid,
            "attempt": self.attempt,
            "fingerprint": self.fingerprint,
            "token": self.token,
        }


class Kind(Enum):
    """What a file of a known name turned out to be."""

    ABSENT = auto()
    OURS = auto()
    DAMAGED = auto()
    """Ours by its name, but not readable any more, such as after a power loss."""
    FOREIGN = auto()
    """Written by another program, or by a task that was started by hand."""


@dataclass(frozen=True)
class Mark:
    """Whose a directory is.

    Attributes:
        run, result: what run.json and result.json are.
        run_fingerprint, result_fingerprint: what they name; None unless they are ours.
        records: file name of the artifact ``records`` in result.json, such as ``train-*-of-00256.tfrecord``.
        inferred: whether result.json has the artifact ``images_annotated``: an inference has finished.
    """

    run: Kind
    result: Kind
    run_fingerprint: str | None = None
    result_fingerprint: str | None = None
    records: str | None = None
    inferred: bool = False

    @property
    def fingerprint(self) -> str | None:
        """What the results are results of; None where neither file says so."""
        return self.run_fingerprint or self.result_fingerprint


def read_run(results_dir: Path) -> Run | None:
    """Return the run that owns the directory, or None where nobody claimed it (or the file is unreadable)."""
    try:
        return _run_of(json.loads(read_regular(results_dir / RUN_FILE)))
    except (OSError, ValueError, RecursionError):
        return None


def read_mark(results_dir: Path) -> Mark:
    """Return what the two files of a directory say.

    Raises:
        InvalidInput: they may not be read.
        TryAgain: they cannot be read at the moment.
    """
    run, content = _content(results_dir / RUN_FILE)
    read = _run_of(content)
    if run is Kind.OURS and (read is None or not _FINGERPRINT.fullmatch(read.fingerprint)):
        known = isinstance(content, dict) and {"experimentUid", "token"} & content.keys()
        run, read = (Kind.DAMAGED if known else Kind.FOREIGN), None
    result, content = _content(results_dir / RESULT_FILE)
    fingerprint = content.get("fingerprint") if isinstance(content, dict) else None
    if result is Kind.OURS and not (isinstance(fingerprint, str) and _FINGERPRINT.fullmatch(fingerprint)):
        result, fingerprint = Kind.FOREIGN, None
    artifacts = content.get("artifacts") if result is Kind.OURS else None
    artifacts = artifacts if isinstance(artifacts, dict) else {}
    records = artifacts.get("records")
    path = records.get("path") if isinstance(records, dict) else None
    return Mark(
        run,
        result,
        read.fingerprint if read else None,
        fingerprint,
        records=path.rpartition("/")[2] if isinstance(path, str) else None,
        inferred=IMAGES in artifacts,
    )


def _run_of(content: Any) -> Run | None:
    try:
        return Run(
            str(content["experimentUid"]), int(content["attempt"]), str(content["fingerprint"]), str(content["token"])
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _content(path: Path) -> tuple[Kind, Any]:
    """Return OURS with the JSON value of a file, or what else is there."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            return Kind.FOREIGN, None
        return Kind.OURS, json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Kind.ABSENT, None
    except (ValueError, RecursionError):
        return Kind.DAMAGED, None
    except PermissionError as error:
        raise InvalidInput(
            f"{path} may not be read ({error.strerror}); give this user the right to read it, or move it away"
        ) from error
    except OSError as error:
        raise TryAgain(f"{path} cannot be read: {error.strerror}") from error
