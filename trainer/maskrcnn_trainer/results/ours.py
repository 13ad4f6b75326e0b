"""Files of a results directory that tasks and launches have written, told by their names (see ``spec.task_table``)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from maskrcnn_trainer.shared.messages import RESULT_FILE, RUN_FILE, STATUS_FILE, TERMINATION_FILE
from maskrcnn_trainer.spec.task_table import TASKS

LOGS = "logs"

LOG_FILES = (
    r"logs/attempt-\d+(?:\.node-\d+)?\.log(?:\.1)?",
    r"logs/attempt-\d+\.spec\.yaml",
    r"logs/tensorboard/events\.out\.tfevents\.[^/]+",
)
"""All below ``logs/`` counts as ours where a directory is moved, but only these are ever deleted."""


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_LOCKS = frozenset(name for entry in TASKS.values() for name in entry.locks)
# termination.json is written where the step runs without a cluster
_ABOUT_THE_RUN = frozenset({RUN_FILE, RESULT_FILE, STATUS_FILE, TERMINATION_FILE})
_FILES = _any_of(
    [
        *map(re.escape, sorted(_ABOUT_THE_RUN | _LOCKS)),
        *(pattern for entry in TASKS.values() for pattern in entry.files),
    ]
)
_LOG_FILES = _any_of(LOG_FILES)
_UNFINISHED = tuple(re.compile(pattern) for entry in TASKS.values() for pattern in entry.unfinished)
# the second form is that of releases that wrote without a process id
_TEMPORARY = re.compile(r"\.(?P<name>.+?)(?:\.\d+)?\.partial", re.DOTALL)
_IGNORED = re.compile(r"\.nfs.*|lost\+found|\.snapshot")


def is_ignored(name: str) -> bool:
    """Return whether a file system keeps an entry of this name for itself: it is neither looked at nor deleted."""
    return _IGNORED.fullmatch(name) is not None


def is_log(path: str) -> bool:
    """Return whether a path relative to a results directory lies below ``logs/``."""
    return path.startswith(f"{LOGS}/")


def is_ours(path: str) -> bool:
    """Return whether a file is of a task, a temporary of one, or a log.

    Args:
        path: relative to the results directory, with slashes.
    """
    return is_log(path) or _FILES.fullmatch(path) is not None or is_temporary(path)


def is_deletable(path: str) -> bool:
    """Return whether a file that is ours may be deleted: below ``logs/`` only what we have written ourselves."""
    if is_log(path):
        return _LOG_FILES.fullmatch(path) is not None or _file_behind(path, _LOG_FILES) is not None
    return is_ours(path)


def is_temporary(path: str) -> bool:
    """Return whether a file is what a killed task left of one: an unfinished file, or shards not yet in place."""
    if _file_behind(path, _FILES) is not None:
        return True
    return any(pattern.fullmatch(path) for pattern in _UNFINISHED)


def may_stand_unclaimed(path: str) -> bool:
    """Return whether a file may be in a directory that has neither run.json nor result.json.

    A task that ended before it could claim its directory has left these. Nothing of them is moved or deleted.
    """
    return is_log(path) or path in _LOCKS | {STATUS_FILE, TERMINATION_FILE} or is_temporary(path)


def is_kept_by_us(path: str) -> bool:
    """Return whether tasks and launches write a file also after result.json: what they say about themselves."""
    return is_log(path) or path in _LOCKS | _ABOUT_THE_RUN or is_temporary(path)


def _file_behind(path: str, files: re.Pattern[str]) -> str | None:
    """Return the file that a path is the temporary of, where that is one of ``files``."""
    folder, slash, name = path.rpartition("/")
    match = _TEMPORARY.fullmatch(name)
    target = f"{folder}{slash}{match['name']}" if match else ""
    return target if match and files.fullmatch(target) else None
