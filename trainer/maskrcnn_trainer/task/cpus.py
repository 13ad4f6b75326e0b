"""How many CPUs this process may use, and how they are divided over a pod's processes."""

from __future__ import annotations

import math
import os
from pathlib import Path

from maskrcnn_trainer.shared.variables import THREADS_VARIABLE

CGROUP_ROOT = Path("/sys/fs/cgroup")


def usable_cpus(cgroup_root: Path = CGROUP_ROOT) -> int:
    """CPUs by affinity and by the cgroup's quota (rounded up), whichever is less; at least 1."""
    affinity = len(os.sched_getaffinity(0))
    quota = cgroup_quota(cgroup_root)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def cgroup_quota(root: Path = CGROUP_ROOT) -> float | None:
    """CPUs that the cgroup grants (a container sees its own at the root), None where there is no limit."""
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
    """Threads of this process: its share as ``launch`` divided the CPUs, else all that it may use."""
    share = os.environ.get(THREADS_VARIABLE, "")
    whole = share.isascii() and share.isdecimal() and len(share) < 5
    return int(share) if whole and int(share) else usable_cpus()


def threads_per_process(processes: int, wanted: int | None = None, cpus: int | None = None) -> int:
    """Threads of each of ``processes``: what the user wants, else an equal share of the CPUs, at least 1."""
    return wanted or max(1, (cpus or usable_cpus()) // processes)
