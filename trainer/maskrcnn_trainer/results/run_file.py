"""What run.json and result.json say about a results directory."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.shared.files import read_regular
from maskrcnn_trainer.shared.fingerprints import as_members, fingerprints_in
from maskrcnn_trainer.shared.messages import RESULT_FILE, RUN_FILE, RUN_VERSION, ArtifactKey, ResultKey, RunFileKey
from maskrcnn_trainer.task.files import write_json_atomically

_LARGEST = 1 << 20
"""Bytes; run.json has 200, result.json a few thousand."""

_FINGERPRINT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
"""A fingerprint becomes part of a directory's name."""


@dataclass(frozen=True)
class RunRecord:
    """One start of one attempt at a step.

    Attributes:
        experiment_uid: uid of the resource, or of the local run's status file.
        attempt: counts from 1.
        fingerprint: what the results will be results of.
        token: drawn at each start; the right to write.
        older_fingerprints: those by which older releases know the same results, oldest first.
    """

    experiment_uid: str
    attempt: int
    fingerprint: str
    token: str
    older_fingerprints: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """All fingerprints of the results, oldest first."""
        return (*self.older_fingerprints, self.fingerprint)

    def to_json(self) -> dict[str, Any]:
        return {
            RunFileKey.VERSION: RUN_VERSION,
            RunFileKey.EXPERIMENT_UID: self.experiment_uid,
            RunFileKey.ATTEMPT: self.attempt,
            **as_members(self.fingerprints),
            RunFileKey.TOKEN: self.token,
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
        run_fingerprints, result_fingerprints: what they name, oldest first; empty unless they are ours.
        artifacts: paths of the artifacts in result.json by their names; "" for one without a path.
    """

    run: Kind
    result: Kind
    run_fingerprints: tuple[str, ...] = ()
    result_fingerprints: tuple[str, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """What the results are results of, oldest first; empty where neither file says so."""
        return self.run_fingerprints or self.result_fingerprints


def read_run(results_dir: Path) -> RunRecord | None:
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
    if run is Kind.OURS and (read is None or not _are_fingerprints(read.fingerprints)):
        known = isinstance(content, dict) and {RunFileKey.EXPERIMENT_UID, RunFileKey.TOKEN} & content.keys()
        run, read = (Kind.DAMAGED if known else Kind.FOREIGN), None
    result, content = _content(results_dir / RESULT_FILE)
    fingerprints = fingerprints_in(content) if isinstance(content, dict) else ()
    if result is Kind.OURS and not _are_fingerprints(fingerprints):
        result, fingerprints = Kind.FOREIGN, ()
    artifacts = content.get(ResultKey.ARTIFACTS) if result is Kind.OURS else None
    artifacts = artifacts if isinstance(artifacts, dict) else {}
    return Mark(
        run,
        result,
        read.fingerprints if read else (),
        fingerprints,
        {name: _path_of(artifact) for name, artifact in artifacts.items()},
    )


def _path_of(artifact: Any) -> str:
    path = artifact.get(ArtifactKey.PATH) if isinstance(artifact, dict) else None
    return path if isinstance(path, str) else ""


def name_result(results_dir: Path, fingerprints: tuple[str, ...]) -> None:
    """Write the fingerprints of a step into a result of one of them that lacks another one; its time stays.

    Later edits of the spec may change one fingerprint and leave the others: each name has to lead to the result. The
    time of result.json tells results that were changed by hand afterwards.
    """
    file = results_dir / RESULT_FILE
    kind, content = _content(file)
    if kind is not Kind.OURS or not isinstance(content, dict):
        return
    named = frozenset(fingerprints_in(content))
    if named.isdisjoint(fingerprints) or named.issuperset(fingerprints):
        return
    written = file.lstat()
    write_json_atomically(file, content | as_members(fingerprints), indent=2)
    os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))


def _are_fingerprints(values: tuple[str, ...]) -> bool:
    return bool(values) and all(_FINGERPRINT.fullmatch(value) for value in values)


def _run_of(content: Any) -> RunRecord | None:
    try:
        *older, fingerprint = fingerprints_in(content)
        return RunRecord(
            str(content[RunFileKey.EXPERIMENT_UID]),
            int(content[RunFileKey.ATTEMPT]),
            fingerprint,
            str(content[RunFileKey.TOKEN]),
            tuple(older),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
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
