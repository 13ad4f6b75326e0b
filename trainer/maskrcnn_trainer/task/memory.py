"""Memory that this process may still use, by the limit of its container and by what the machine has."""

from __future__ import annotations

import re
from pathlib import Path

from maskrcnn_trainer.task.cpus import CGROUP_ROOT

MEMINFO = Path("/proc/meminfo")
KIB = 1024


def memory_left(cgroup_root: Path = CGROUP_ROOT, meminfo: Path = MEMINFO) -> int | None:
    """Return the bytes that may still be used, at least 0; None if neither a limit nor the machine's memory is known.

    Args:
        cgroup_root: root of the cgroup file system.
        meminfo: the kernel's description of the machine's memory.
    """
    known = [left for left in (container_memory_left(cgroup_root), _available(meminfo)) if left is not None]
    return min(known, default=None)


def container_memory_left(root: Path = CGROUP_ROOT) -> int | None:
    """Return the bytes below the memory limit of the cgroup, at least 0; None if there is no limit.

    Cached files don't count as used, since the kernel drops them before it ends a process.

    Args:
        root: root of the cgroup file system, where a container sees its own cgroup.
    """
    limit, used, cached = (
        _number(root / "memory.max"),
        _number(root / "memory.current"),
        _member(root / "memory.stat", r"(?:in)?active_file"),
    )
    if limit is None or used is None:
        memory = root / "memory"
        limit, used, cached = (
            _number(memory / "memory.limit_in_bytes"),
            _number(memory / "memory.usage_in_bytes"),
            _member(memory / "memory.stat", r"total_(?:in)?active_file"),
        )
    return None if limit is None or used is None else max(0, limit - used + cached)


def _available(meminfo: Path) -> int | None:
    kib = _member(meminfo, "MemAvailable:")
    return kib * KIB if kib else None


def _number(file: Path) -> int | None:
    """Return the number in a file; None if there is none, such as ``max``."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _member(file: Path, name: str) -> int:
    """Return the sum of the numbers after the names that a regular expression matches; 0 without any."""
    try:
        text = file.read_text()
    except OSError:
        return 0
    return sum(int(value) for value in re.findall(rf"^{name} +(\d+)", text, re.MULTILINE))
