"""Failure of a process, sent to its launcher, which logs one failure for all processes of the worker group."""

from __future__ import annotations

import json
import os

from maskrcnn_trainer.shared.messages import ErrorKey, TaskFailure
from maskrcnn_trainer.shared.variables import FAILURE_VARIABLE


def open_failure_message() -> int:
    """Return the descriptor of a memory file for a child to inherit; FAILURE_VARIABLE gives the child its number."""
    return os.memfd_create("failure-message")


def send_failure(failure: TaskFailure) -> bool:
    """Write the failure to the launcher's descriptor; return False if no launcher will log it."""
    descriptor = os.environ.get(FAILURE_VARIABLE, "")
    if not (descriptor.isascii() and descriptor.isdecimal()):
        return False
    try:
        os.pwrite(int(descriptor), json.dumps(failure.to_json()).encode(), 0)
    except OSError:
        return False
    return True


def read_failure_message(descriptor: int) -> TaskFailure | None:
    """Return the failure that the child wrote, or None, and close the descriptor."""
    try:
        text = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)
    try:
        if not text:
            return None
        content = json.loads(text)
        return TaskFailure(reason=content[ErrorKey.REASON], message=content[ErrorKey.MESSAGE])
    except (ValueError, TypeError, KeyError):  # truncated, because the child was killed
        return None
