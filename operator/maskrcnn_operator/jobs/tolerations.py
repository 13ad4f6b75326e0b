"""How long the pods of a gang stay on a node that does not answer.

Without a toleration for it, Kubernetes gives every pod 300 s (the admission plugin DefaultTolerationSeconds): as long
as that, the other pods of a gang hold their GPUs and wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GANG_SECONDS = 30
"""From the moment when a node counts as unreachable until its pods of a gang are evicted, in seconds."""

_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

Toleration = Mapping[str, Any]


def with_gang_tolerations(given: Sequence[Toleration]) -> list[Toleration]:
    """Return tolerations of a gang's pods: those given, and ours for each taint that none of them is about."""
    missing = [key for key in _TAINTS if not any(_is_about(toleration, key) for toleration in given)]
    return [*given, *map(_for_a_while, missing)]


def _is_about(toleration: Toleration, key: str) -> bool:
    """Return whether a toleration holds for the NoExecute taint ``key``, as DefaultTolerationSeconds sees it."""
    return toleration.get("key") in (key, "", None) and toleration.get("effect") in ("NoExecute", "", None)


def _for_a_while(key: str) -> Toleration:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": GANG_SECONDS}
