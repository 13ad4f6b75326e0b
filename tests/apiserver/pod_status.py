"""Pod statuses as a kubelet writes them, as strategic merge patches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

NODE_ADDRESS = "192.0.2.1"  # reserved for documentation, so that no host has it


def timestamp() -> str:
    """Return the current time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unschedulable(message: str) -> dict[str, Any]:
    """Return the status of a pod that fits on no node."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"status": {"conditions": [condition | {"lastTransitionTime": timestamp()}]}}


def waiting(pod: Mapping[str, Any], reason: str, message: str | None = None) -> dict[str, Any]:
    """Return the status of a pod that is bound to a node, but whose container cannot start."""
    state = {"waiting": {"reason": reason, "message": message or f"played: {reason}"}}
    return {
        "status": {
            "phase": "Pending",
            "startTime": timestamp(),
            "hostIP": NODE_ADDRESS,
            "conditions": [
                _condition("Initialized", True),
                _condition("Ready", False, "ContainersNotReady"),
                _condition("ContainersReady", False, "ContainersNotReady"),
            ],
            "containerStatuses": _containers(pod, state, ready=False),
        }
    }


def running(pod: Mapping[str, Any], *, ready: bool, address: str) -> dict[str, Any]:
    """Return the status of a pod whose containers all run."""
    now = timestamp()
    reason = "" if ready else "ContainersNotReady"
    return {
        "status": {
            "phase": "Running",
            "startTime": now,
            "hostIP": NODE_ADDRESS,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                _condition("Initialized", True),
                _condition("Ready", ready, reason),
                _condition("ContainersReady", ready, reason),
            ],
            "containerStatuses": _containers(pod, {"running": {"startedAt": now}}, ready=ready),
        }
    }


def ended(pod: Mapping[str, Any], code: int, reason: str | None, message: str) -> dict[str, Any]:
    """Return the status of a pod whose containers have exited with ``code``; the first one has the message."""
    statuses = pod.get("status", {}).get("containerStatuses", [{}])
    now = timestamp()
    started = statuses[0].get("state", {}).get("running", {}).get("startedAt", now)
    terminated = {
        "exitCode": code,
        "reason": reason or ("Completed" if code == 0 else "Error"),
        "startedAt": started,
        "finishedAt": now,
    }
    containers = _containers(pod, {"terminated": terminated}, ready=False)
    if message:
        containers[0]["state"] = {"terminated": terminated | {"message": message}}
    why = "PodCompleted" if code == 0 else "PodFailed"
    return {
        "status": {
            "phase": "Succeeded" if code == 0 else "Failed",
            "conditions": [_condition("Ready", False, why), _condition("ContainersReady", False, why)],
            "containerStatuses": containers,
        }
    }


def outlived(pod: Mapping[str, Any], code: int, reason: str | None, message: str) -> dict[str, Any]:
    """Return the status of a pod whose first container has exited with ``code`` while the others still run."""
    running_on = pod["status"]["containerStatuses"]
    first = ended(pod, code, reason, message)["status"]["containerStatuses"][0]
    why = "ContainersNotReady"
    return {
        "status": {
            "phase": "Running",
            "conditions": [_condition("Ready", False, why), _condition("ContainersReady", False, why)],
            "containerStatuses": [first, *running_on[1:]],
        }
    }


def killed(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status of a failed pod whose containers were killed because they ignored SIGTERM."""
    now = timestamp()
    killed = {"exitCode": 137, "reason": "Error", "startedAt": now, "finishedAt": now}
    statuses = [
        {**item, "ready": False, "state": item["state"] if "terminated" in item["state"] else {"terminated": killed}}
        for item in pod["status"]["containerStatuses"]
    ]
    return {"status": {"phase": "Failed", "containerStatuses": statuses}}


def _containers(pod: Mapping[str, Any], state: dict[str, Any], *, ready: bool) -> list[dict[str, Any]]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "started": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]


def _condition(name: str, status: bool, reason: str = "") -> dict[str, Any]:
    condition = {"type": name, "status": "True" if status else "False", "lastTransitionTime": timestamp()}
    return condition | ({"reason": reason} if reason else {})
