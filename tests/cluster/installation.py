"""Installation of the chart, as a user does it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.cluster.cluster import NAMESPACE, Cluster, wait_until

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "maskrcnn-operator"
RELEASE = "maskrcnn"
WAIT = ("--wait", "--timeout=180s")


def version() -> str:
    """Return the version of the images built from this tree."""
    found = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


class Installation:
    """Operator in a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def install(self, *options: str) -> None:
        """Run ``helm upgrade --install`` and wait until the operator is ready."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
        self.cluster.helm("upgrade", "--install", RELEASE, str(CHART), "-n", NAMESPACE, *WAIT, *options)

    def pods(self) -> list[dict[str, Any]]:
        """Return the operator's pods."""
        selector = "app.kubernetes.io/name=maskrcnn-operator,pod-template-hash"
        return list(self.cluster.list("pod", NAMESPACE, selector))

    def leader(self) -> str:
        """Return the name of the pod that holds the Lease."""
        lease = self.cluster.get("lease", RELEASE, NAMESPACE)
        holder = str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")
        return holder.rpartition("_")[0]

    def kill(self, *pods: str) -> None:
        """Delete pods without a grace period."""
        self.cluster.kubectl("delete", "pod", "-n", NAMESPACE, "--grace-period=0", "--force", *pods)

    def wait_ready(self) -> None:
        """Wait until all replicas are Ready."""

        def ready() -> bool:
            status = self.cluster.get("deployment", RELEASE, NAMESPACE)["status"]
            return bool(status.get("readyReplicas") == status.get("replicas") == 2)

        wait_until("two replicas Ready", ready, 120, lambda: json.dumps([pod["status"] for pod in self.pods()]))
