"""Number of CPUs that this process may use, and their division among the processes of a pod."""

from __future__ import annotations

import math
import os
from pathlib import Path

from maskrcnn_trainer.shared.variables import THREADS_VARIABLE

CGROUP_ROOT = Path("/sys/fs/cgroup")


def usable_cpus(cgroup_root: Path = CGROUP_ROOT) -> int:
    """Return the number of CPUs by affinity or by the cgroup's quota (rounded up), whichever is less; at least 1."""
    affinity = len(os.sched_getaffinity(0))
    quota = cgroup_quota(cgroup_root)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def cgroup_quota(root: Path = CGROUP_ROOT) -> float | None:
    """Return the CPU limit of the cgroup, or None if there is no limit.

    Args:
        root: root of the cgroup file system, where a container sees its own cgroup.
    """
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        microseconds = int((root / "cpu" / "cpu.cfs_quota_us").read_text())
        period_microseconds = int((root / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return microseconds / period_microseconds if microseconds > 0 else None


def task_threads() -> int:
    """Return the number of threads of this process: its share of the CPUs under ``launch``, else all usable CPUs."""
    share = os.environ.get(THREADS_VARIABLE, "")
    whole = share.isascii() and share.isdecimal() and len(share) < 5
    return int(share) if whole and int(share) else usable_cpus()


def threads_per_process(processes: int, requested: int | None = None, cpus: int | None = None) -> int:
    """Return the number of threads of each process: as requested, else an equal share of the CPUs, at least 1."""
    return requested or max(1, (cpus or usable_cpus()) // processes)
