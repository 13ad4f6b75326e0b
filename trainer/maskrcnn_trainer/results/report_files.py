"""Files of a report, which any results directory may have, recognized by their content: a user's may have these names.

The names, and the marks at their beginning, are used by the writer in :mod:`maskrcnn_trainer.report` too.
"""

from __future__ import annotations

from maskrcnn_trainer.shared.messages import REPORT_FILE, REPORT_NUMBERS_FILE

GENERATOR = "maskrcnn-operator"
"""Value of the page's first ``meta`` element, ``generator``."""

_BEGINNINGS = {
    REPORT_FILE: f'<!doctype html>\n<html lang="en"><head><meta name="generator" content="{GENERATOR}">'.encode(),
    REPORT_NUMBERS_FILE: b'{"title":"',
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
