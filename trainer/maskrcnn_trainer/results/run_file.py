"""Content of run.json and result.json, which identify the owner of a results directory."""

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
from maskrcnn_trainer.task.environment import is_time_of_creation
from maskrcnn_trainer.task.files import write_json_atomically

_LARGEST = 1 << 20
"""Maximum size in bytes; run.json has about 200 bytes, result.json a few thousand."""

_FINGERPRINT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
"""Characters of a fingerprint, which becomes part of a directory name."""


@dataclass(frozen=True)
class StoreClaim:
    """Claim of a step in object storage.

    Attributes:
        owner_epoch: epoch of the experiment's owner, from 1.
        epoch: epoch of the step, from 1; each claim raises it.
    """

    owner_epoch: int
    epoch: int


@dataclass(frozen=True)
class RunRecord:
    """Start of an attempt at a step.

    Attributes:
        experiment_uid: uid of the resource, or of the local run's status file.
        attempt: number of the attempt, from 1.
        fingerprint: fingerprint of the step.
        token: random value of this start; the run may write while run.json has it.
        older_fingerprints: fingerprints of the step in older releases, oldest first.
        created: time at which the experiment was created, ``2026-01-31T12:00:00Z``; empty if not recorded.
        store_claim: of a working copy, the claim under which it was last equal to the published results or continued
            them; None while it is restored, and for results that aren't in object storage.
    """

    experiment_uid: str
    attempt: int
    fingerprint: str
    token: str
    older_fingerprints: tuple[str, ...] = ()
    created: str = ""
    store_claim: StoreClaim | None = None

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """All fingerprints of the results, oldest first."""
        return (*self.older_fingerprints, self.fingerprint)

    def to_json(self) -> dict[str, Any]:
        """Return the content of run.json."""
        return {
            RunFileKey.VERSION: RUN_VERSION,
            RunFileKey.EXPERIMENT_UID: self.experiment_uid,
            RunFileKey.ATTEMPT: self.attempt,
            **as_members(self.fingerprints),
            RunFileKey.TOKEN: self.token,
            **({RunFileKey.CREATED: self.created} if self.created else {}),
            **_members_of(self.store_claim),
        }


class MarkState(Enum):
    """State and origin of run.json or result.json."""

    ABSENT = auto()
    OURS = auto()
    DAMAGED = auto()
    """Unreadable, such as after a power loss."""
    FOREIGN = auto()
    """Written by another program, or by a task that was started by hand."""


@dataclass(frozen=True)
class Mark:
    """Owner of a directory, according to run.json and result.json.

    Attributes:
        run, result: state and origin of run.json and result.json.
        run_fingerprints, result_fingerprints: their fingerprints, oldest first; empty unless ``OURS``.
        artifacts: paths of the artifacts in result.json by name; "" for one without a path.
    """

    run: MarkState
    result: MarkState
    run_fingerprints: tuple[str, ...] = ()
    result_fingerprints: tuple[str, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the results, oldest first; empty if neither file has them."""
        return self.run_fingerprints or self.result_fingerprints


def read_run(results_dir: Path) -> RunRecord | None:
    """Return the run that owns the directory; None if it isn't claimed or run.json is unreadable."""
    try:
        return _run_of(json.loads(read_regular(results_dir / RUN_FILE)))
    except (OSError, ValueError, RecursionError):
        return None


def read_mark(results_dir: Path) -> Mark:
    """Return the owner of a directory from its run.json and result.json.

    Raises:
        InvalidInput: reading them isn't permitted.
        TryAgain: they cannot be read at the moment.
    """
    run, content = _content(results_dir / RUN_FILE)
    read = _run_of(content)
    if run is MarkState.OURS and (read is None or not _are_fingerprints(read.fingerprints)):
        known = isinstance(content, dict) and {RunFileKey.EXPERIMENT_UID, RunFileKey.TOKEN} & content.keys()
        run, read = (MarkState.DAMAGED if known else MarkState.FOREIGN), None
    result, content = _content(results_dir / RESULT_FILE)
    fingerprints = fingerprints_in(content) if isinstance(content, dict) else ()
    if result is MarkState.OURS and not _are_fingerprints(fingerprints):
        result, fingerprints = MarkState.FOREIGN, ()
    artifacts = content.get(ResultKey.ARTIFACTS) if result is MarkState.OURS else None
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
    """Add fingerprints of a step to its result.json if some are missing; keep the modification time.

    A later edit of the spec may change one fingerprint but not the others, so the result must be found by each of them.
    The modification time is needed to recognize results that were changed by hand afterwards.
    """
    file = results_dir / RESULT_FILE
    kind, content = _content(file)
    if kind is not MarkState.OURS or not isinstance(content, dict):
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
            _time_of_creation(content.get(RunFileKey.CREATED)),
            _store_claim(content.get(RunFileKey.OWNER_EPOCH), content.get(RunFileKey.EPOCH)),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None


def _members_of(claim: StoreClaim | None) -> dict[str, int]:
    return {} if claim is None else {RunFileKey.OWNER_EPOCH: claim.owner_epoch, RunFileKey.EPOCH: claim.epoch}


def _store_claim(owner_epoch: Any, epoch: Any) -> StoreClaim | None:
    return StoreClaim(owner_epoch, epoch) if type(owner_epoch) is int and type(epoch) is int else None


def _time_of_creation(value: Any) -> str:
    return value if isinstance(value, str) and is_time_of_creation(value) else ""


def _content(path: Path) -> tuple[MarkState, Any]:
    """Return OURS with the JSON value of a file, or another kind with None."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            return MarkState.FOREIGN, None
        return MarkState.OURS, json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return MarkState.ABSENT, None
    except (ValueError, RecursionError):
        return MarkState.DAMAGED, None
    except PermissionError as error:
        raise InvalidInput(
            f"{path} cannot be read ({error.strerror}); give this user permission to read it, or move it elsewhere"
        ) from error
    except OSError as error:
        raise TryAgain(f"{path} cannot be read: {error.strerror}") from error
