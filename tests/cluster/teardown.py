"""Removal of the containers' control groups, which outlive their processes."""

from __future__ import annotations

import contextlib
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PARENT = "k8s.io"


def remove_cgroups(root: Path = CGROUPS) -> None:
    """Remove empty groups of containers in every hierarchy; groups with running processes are kept."""
    for parent in [*root.glob(f"*/{PARENT}"), root / PARENT]:
        if not parent.is_dir():
            continue
        for folder in sorted((path for path in parent.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            parent.rmdir()
