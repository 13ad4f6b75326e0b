"""Files that a task may leave according to the task table."""

from __future__ import annotations

import re

from maskrcnn_trainer.shared.messages import (
    REPORT_FILE,
    REPORT_NUMBERS_FILE,
    RESULT_FILE,
    RUN_FILE,
    STATUS_FILE,
    TERMINATION_FILE,
)
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS

COMMON = (RUN_FILE, RESULT_FILE, STATUS_FILE, TERMINATION_FILE, REPORT_FILE, REPORT_NUMBERS_FILE)


def is_written_by(task: TaskName, path: str) -> bool:
    """Return whether a finished task, or its launch, may have left a file.

    Args:
        path: relative to the results directory, with slashes.
    """
    entry = TASKS[task]
    if path.startswith("logs/") or path in (*COMMON, *entry.locks):
        return True
    return any(re.fullmatch(pattern, path) for pattern in entry.files)
