"""Experiments of the tests of the resource, with the status that the operator would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tests.apiserver.bed import Bed

from maskrcnn_operator.api.base import API_VERSION

FOLDER = Path(__file__).parents[1] / "manifests"
RESOURCE = f"/apis/{API_VERSION}/namespaces/{{}}/maskrcnnexperiments"


def example(name: str = "minimal") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "accepted" / f"{name}.yaml").read_text())
    return found


def condition(kind: str, status: str, reason: str) -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-11-22T12:00:00Z",
    }


RUNNING_CONDITIONS = [condition("Reconciling", "True", "Running"), condition("Ready", "False", "Running")]
STARTED = [{"name": "convert", "state": "Pending", "attempt": 0}, {"name": "train", "state": "Running", "attempt": 1}]
RUNNING = {"conditions": RUNNING_CONDITIONS, "steps": STARTED}
SUSPENDED = {
    "conditions": [condition("Suspended", "True", "Suspended"), condition("Ready", "True", "Suspended")],
    "steps": STARTED,
}


def edited(
    bed: Bed, namespace: str, *, suspend: bool, status: dict[str, Any], change: dict[str, Any], of: str = "minimal"
) -> Any:
    """Change the spec of an accepted manifest that has this status; return the server's answer."""
    manifest = example(of)
    manifest["spec"]["suspend"] = suspend
    path = f"{RESOURCE.format(namespace)}/{manifest['metadata']['name']}"
    bed.api("POST", RESOURCE.format(namespace), manifest)
    bed.api("PATCH", f"{path}/status", {"status": status})
    return bed.api("PATCH", path, {"spec": change})
