"""Files that tasks and launches write to a results directory, recognized by name (see ``spec.task_table``)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from maskrcnn_trainer.results.report_files import is_report
from maskrcnn_trainer.shared.messages import (
    INPUTS_FILE,
    REPORT_FILE,
    REPORT_NUMBERS_FILE,
    RESULT_FILE,
    RUN_FILE,
    STATUS_FILE,
    TERMINATION_FILE,
)
from maskrcnn_trainer.spec.task_table import TASKS

LOGS = "logs"

LOG_FILES = (
    r"logs/attempt-\d+(?:\.node-\d+)?\.log(?:\.1)?",
    r"logs/attempt-\d+\.spec\.yaml",
    r"logs/tensorboard/events\.out\.tfevents\.[^/]+",
)
"""Log files that may be deleted; when a directory is moved, everything below ``logs/`` is moved with it."""


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_LOCKS = frozenset(name for entry in TASKS.values() for name in entry.locks)
# termination.json is written when the step runs without a cluster
_ABOUT_THE_RUN = frozenset(
    {RUN_FILE, RESULT_FILE, INPUTS_FILE, STATUS_FILE, TERMINATION_FILE, REPORT_FILE, REPORT_NUMBERS_FILE}
)
_FILES = _any_of(
    [
        *map(re.escape, sorted(_ABOUT_THE_RUN | _LOCKS)),
        *(pattern for entry in TASKS.values() for pattern in entry.files),
    ]
)
_EARLY = _any_of(pattern for entry in TASKS.values() for pattern in entry.early)
_LOG_FILES = _any_of(LOG_FILES)
_UNFINISHED = tuple(re.compile(pattern) for entry in TASKS.values() for pattern in entry.unfinished)
# the number is absent in files of older releases
_TEMPORARY = re.compile(r"\.(?P<name>.+?)(?:\.\d+)?\.partial", re.DOTALL)
_IGNORED = re.compile(r"\.nfs.*|lost\+found|\.snapshot")


def is_ignored(name: str) -> bool:
    """Return whether a name belongs to the file system itself; such entries are ignored and never deleted."""
    return _IGNORED.fullmatch(name) is not None


def is_log(path: str) -> bool:
    """Return whether a path relative to a results directory lies below ``logs/``."""
    return path.startswith(f"{LOGS}/")


def is_ours(path: str) -> bool:
    """Return whether a path is that of a file of a task, a temporary file of a task, or a log.

    Args:
        path: relative to the results directory, with slashes.
    """
    return is_log(path) or _FILES.fullmatch(path) is not None or is_temporary(path)


def is_deletable(path: str) -> bool:
    """Return whether a file of a task may be deleted; below ``logs/``, only ``LOG_FILES`` may."""
    if is_log(path):
        return _LOG_FILES.fullmatch(path) is not None or _file_behind(path, _LOG_FILES) is not None
    return is_ours(path)


def is_temporary(path: str) -> bool:
    """Return whether a file was left by a killed task: an unfinished file, or shards that weren't moved into place."""
    if _file_behind(path, _FILES) is not None:
        return True
    return any(pattern.fullmatch(path) for pattern in _UNFINISHED)


def may_stand_unclaimed(path: str) -> bool:
    """Return whether a file may be in a directory that has neither run.json nor result.json.

    A task that ended before it claimed its directory may have written it. It isn't moved or deleted.
    """
    return is_log(path) or path in _LOCKS | {STATUS_FILE, TERMINATION_FILE} or is_temporary(path)


def is_result(path: str) -> bool:
    """Return whether a file is one of a finished result or of a checkpoint, other than logs and reports of a run.

    Args:
        path: relative to the results directory, with slashes.
    """
    return not (
        may_stand_unclaimed(path)
        or path in (RUN_FILE, INPUTS_FILE)
        or is_report(path)
        or _EARLY.fullmatch(path) is not None
    )


def is_kept_by_us(path: str) -> bool:
    """Return whether tasks and launches may write a file after result.json: logs, reports, and locks."""
    return is_log(path) or path in _LOCKS | _ABOUT_THE_RUN or is_temporary(path)


def _file_behind(path: str, files: re.Pattern[str]) -> str | None:
    """Return the file of which a path is the temporary, if it is one of ``files``, else None."""
    folder, slash, name = path.rpartition("/")
    match = _TEMPORARY.fullmatch(name)
    target = f"{folder}{slash}{match['name']}" if match else ""
    return target if match and files.fullmatch(target) else None
