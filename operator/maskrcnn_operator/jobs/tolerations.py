"""Tolerations by which pods of a worker group are evicted from an unresponsive node after a short time.

By default, every pod tolerates such a node for 300 s (admission plugin DefaultTolerationSeconds). During that time the
other pods of the worker group would hold their GPUs and wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WORKER_GROUP_SECONDS = 30
"""Seconds from the moment a node counts as unreachable until the pods of a worker group are evicted from it."""

_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

TolerationManifest = Mapping[str, Any]


def with_worker_group_tolerations(given: Sequence[TolerationManifest]) -> list[TolerationManifest]:
    """Return the given tolerations, and ours for each taint that none of them covers."""
    missing = [key for key in _TAINTS if not any(_is_about(toleration, key) for toleration in given)]
    return [*given, *map(_for_a_while, missing)]


def _is_about(toleration: TolerationManifest, key: str) -> bool:
    """Return whether a toleration is for the NoExecute taint ``key``, by the rules of DefaultTolerationSeconds."""
    return toleration.get("key") in (key, "", None) and toleration.get("effect") in ("NoExecute", "", None)


def _for_a_while(key: str) -> TolerationManifest:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": WORKER_GROUP_SECONDS}
