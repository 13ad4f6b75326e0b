"""Processes that scripts leave running, known by a file with their PID and start time."""

from __future__ import annotations

import json
from pathlib import Path

import psutil


def identity_of(process: psutil.Process) -> dict[str, float]:
    """Return what the state file of a process has to hold."""
    return {"pid": process.pid, "started": process.create_time()}


def running_process(state: Path) -> psutil.Process | None:
    """Return the process whose identity is in a state file, or None if it has ended (its PID may be reused)."""
    try:
        facts = json.loads(state.read_text())
        process = psutil.Process(facts["pid"])
        runs = process.create_time() == facts["started"] and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if runs else None
