"""Tolerations that keep the pods of a worker group on a node that does not answer for a short time only.

Without a toleration for it, Kubernetes gives every pod 300 s (the admission plugin DefaultTolerationSeconds): as long
as that, the other pods of a worker group hold their GPUs and wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WORKER_GROUP_SECONDS = 30
"""From the moment when a node counts as unreachable until its pods of a worker group are evicted, in seconds."""

_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

TolerationManifest = Mapping[str, Any]


def with_worker_group_tolerations(given: Sequence[TolerationManifest]) -> list[TolerationManifest]:
    """Return the tolerations of a worker group's pods: those given, and ours for each taint that none of them names."""
    missing = [key for key in _TAINTS if not any(_is_about(toleration, key) for toleration in given)]
    return [*given, *map(_for_a_while, missing)]


def _is_about(toleration: TolerationManifest, key: str) -> bool:
    """Return whether a toleration holds for the NoExecute taint ``key``, as DefaultTolerationSeconds sees it."""
    return toleration.get("key") in (key, "", None) and toleration.get("effect") in ("NoExecute", "", None)


def _for_a_while(key: str) -> TolerationManifest:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": WORKER_GROUP_SECONDS}
