"""Files of a results directory that are published, and what they say about the step; decisions without I/O."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.object_store.fence.untrusted import refuse_unsafe_path
from maskrcnn_trainer.results.ours import LOG_FILES, is_log, is_ours, is_temporary
from maskrcnn_trainer.shared.fingerprints import fingerprints_in
from maskrcnn_trainer.shared.messages import RUN_FILE, STATUS_FILE, TERMINATION_FILE, ResultKey
from maskrcnn_trainer.spec.task_table import TASKS

EVALUATIONS = tuple(entry.evaluations for entry in TASKS.values() if entry.evaluations)
"""Files with the metrics of checkpoints."""

_BEST_BY = "mask_AP"
"""Metric by which the best checkpoint is chosen, as the training does."""

_OF_ONE_MACHINE = frozenset({RUN_FILE, TERMINATION_FILE, *(name for entry in TASKS.values() for name in entry.locks)})
"""Files that belong to one working directory; the store has a pointer of its own in place of run.json."""
_RECORDS = frozenset({STATUS_FILE, *(name for entry in TASKS.values() for name in entry.appended)})
"""Files to which a task appends whole lines."""
_CHECKPOINTS = tuple(entry.checkpoint for entry in TASKS.values() if entry.checkpoint is not None)
_LOG = re.compile("|".join(f"(?:{pattern})" for pattern in LOG_FILES))


class UnpublishableResults(InvalidInput):
    """Results that no manifest can name, however often it is tried (64)."""

    default_reason = "UnpublishableResults"


def is_published(path: str) -> bool:
    """Return whether a file is published.

    Args:
        path: relative to the results directory, with slashes.
    """
    if path in _OF_ONE_MACHINE or is_temporary(path):
        return False
    return _LOG.fullmatch(path) is not None if is_log(path) else is_ours(path)


def grows(path: str) -> bool:
    """Return whether a published file is appended to; all others are replaced by a rename."""
    return path in _RECORDS or is_log(path)


def has_records(path: str) -> bool:
    """Return whether a file that grows consists of lines, of which the last may still be incomplete."""
    return path in _RECORDS


def is_namable(path: str) -> bool:
    """Return whether a manifest can name a path: those with a backslash or a control character are refused there."""
    try:
        refuse_unsafe_path(path, "")
    except InvalidInput:
        return False
    return True


def checkpoints_in(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the checkpoints among paths, the one of the highest step last."""
    found = _by_step(paths)
    return tuple(found[step] for step in sorted(found))


def newest_step(checkpoints: Iterable[str]) -> int | None:
    """Return the highest step of checkpoints; None if there are none."""
    return max(_by_step(checkpoints), default=None)


def best_checkpoint(evaluations: bytes, hashes: Mapping[str, str]) -> str | None:
    """Return the checkpoint with the highest mask AP, the earliest of equals; None if none has one.

    An evaluation counts if it is of the very file, and used the same validation data as the newest one.

    Args:
        evaluations: content of one of ``EVALUATIONS``, which may be damaged.
        hashes: SHA-256 of each checkpoint by its path.
    """
    steps = _by_step(hashes)
    entries = {step: entry for step, entry in _entries(evaluations).items() if step in steps}
    if not entries:
        return None
    newest = entries[max(entries)].get("evaluatedOn")
    scores = {
        step: score
        for step, entry in entries.items()
        if entry.get("evaluatedOn") in (None, newest)
        and entry.get("checkpoint") in (None, hashes[steps[step]])
        and (score := _score(entry)) is not None
    }
    return steps[min(scores, key=lambda step: (-scores[step], step))] if scores else None


def is_result_of(content: bytes, fingerprint: str) -> bool:
    """Return whether the content of ``result.json`` is that of a finished task of a fingerprint."""
    try:
        result = json.loads(content)
        return bool(result[ResultKey.CODE] == EXIT_OK and fingerprint in fingerprints_in(result))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _by_step(paths: Iterable[str]) -> dict[int, str]:
    matches = ((pattern.fullmatch(path), path) for path in paths for pattern in _CHECKPOINTS)
    return {int(match["step"]): path for match, path in matches if match}


def _entries(evaluations: bytes) -> dict[int, dict[str, Any]]:
    try:
        content = json.loads(evaluations)
    except (ValueError, RecursionError):
        return {}
    return {
        int(step): entry
        for step, entry in (content.items() if isinstance(content, dict) else ())
        if step.isascii() and step.isdecimal() and len(step) <= 18 and isinstance(entry, dict)
    }


def _score(entry: Mapping[str, Any]) -> float | None:
    value = entry.get(_BEST_BY)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e300:
        return None
    return float(value) if math.isfinite(value) else None
