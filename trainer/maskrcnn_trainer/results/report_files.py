"""Files of a report, which any results directory may have, recognized by their content: a user's may have these names.

The names, and the marks at their beginning, are used by the writer in :mod:`maskrcnn_trainer.report` too.
"""

from __future__ import annotations

from pathlib import Path

from maskrcnn_trainer.results.recorded import beginning_of
from maskrcnn_trainer.shared.messages import REPORT_FILE, REPORT_NUMBERS_FILE

GENERATOR = "maskrcnn-operator"
"""Value of the page's first ``meta`` element, ``generator``."""

_BEGINNINGS = {
    REPORT_FILE: f'<!doctype html>\n<html lang="en"><head><meta name="generator" content="{GENERATOR}">'.encode(),
    REPORT_NUMBERS_FILE: f'{{"generator":"{GENERATOR}",'.encode(),
}


def is_report(name: str) -> bool:
    """Return whether a path relative to a results directory is that of a report's file."""
    return name in _BEGINNINGS


def begins_as_report(name: str, beginning: bytes) -> bool:
    """Return whether the first 100 bytes of a file are those of a report, which may be empty or truncated.

    Args:
        name: ``report.html`` or ``report.json``.
        beginning: the bytes.
    """
    expected = _BEGINNINGS[name]
    return expected.startswith(beginning.strip(b"\0")[: len(expected)])


def may_be_replaced(file: Path, name: str) -> bool:
    """Return whether nothing is at a path, or a plain file that a report wrote.

    Another file, a link, or a file that can't be read may be the user's.

    Args:
        file: the path.
        name: of the report's file that is to be written there, ``report.html`` or ``report.json``.
    """
    if file.is_symlink():
        return False
    if not file.exists():
        return True
    beginning = beginning_of(file)
    return file.is_file() and (file.stat().st_size == 0 or (beginning != b"" and begins_as_report(name, beginning)))
