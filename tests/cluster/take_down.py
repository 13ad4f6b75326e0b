"""Control groups outlive the processes in them: those of our containers are removed when nothing runs in them."""

from __future__ import annotations

import contextlib
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PARENT = "k8s.io"


def remove_cgroups(root: Path = CGROUPS) -> None:
    """Removes empty groups of containers under every hierarchy; one in which something still runs stays."""
    for parent in [*root.glob(f"*/{PARENT}"), root / PARENT]:
        if not parent.is_dir():
            continue
        for folder in sorted((path for path in parent.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            parent.rmdir()
