"""Logs in a state directory, of which each step keeps those of its newest attempts."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

LOGS_OF_STEP = 10
"""Number of attempts whose logs are kept, as in a results directory."""


def remove_old_logs(folder: Path, step: str) -> None:
    """Remove the logs and the specs of all but the newest attempts of a step; other files stay."""
    name = re.compile(rf"{re.escape(step)}\.attempt-(\d{{1,18}})\.(?:log|spec\.yaml)")
    with contextlib.suppress(OSError):
        found = [(int(match[1]), file) for file in folder.iterdir() if (match := name.fullmatch(file.name))]
        newest = sorted({attempt for attempt, _ in found})[-LOGS_OF_STEP:]
        for attempt, file in found:
            if attempt not in newest:
                file.unlink()
