"""Steps whose pods cannot be created or started: the status has reason and message, and one event reports them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import CONVERT, Cluster, condition, manifest, ready_reason, step_of
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

SMALL = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}
LARGE = {"limits": {"cpu": "64", "memory": "1Gi"}, "requests": {"cpu": "64", "memory": "1Gi"}}
WITHOUT_MEMORY = {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
HOST_PATH = {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}

REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "quota-on-pods": (
        {"resources": SMALL},
        {},
        "exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0",
    ),
    "quota-on-limits": (
        {"resources": WITHOUT_MEMORY},
        {},
        "failed quota: limits: must specify limits.memory for: trainer",
    ),
    "limit-range": ({"resources": LARGE}, {}, "maximum cpu usage per Container is 8, but limit is 64"),
    "service-account": (
        {"resources": SMALL},
        {"podOverrides": {"serviceAccountName": "missing"}},
        'error looking up service account NAMESPACE/missing: serviceaccount "missing" not found',
    ),
    "pod-security": ({"resources": SMALL}, {"podOverrides": HOST_PATH}, 'violates PodSecurity "restricted:latest"'),
}
"""By name: fields of the step, fields of the spec, and part of the message."""


def restrict(bed: Bed, namespace: str) -> None:
    """Add quotas and limits that keep the namespace from accepting the pods of REFUSED."""
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    bed.api("PATCH", f"/api/v1/namespaces/{namespace}", label)
    path = f"/api/v1/namespaces/{namespace}"
    for name, hard in (("pods", {"pods": "0"}), ("limits", {"limits.memory": "1Ti"})):
        bed.api("POST", f"{path}/resourcequotas", {"metadata": {"name": name}, "spec": {"hard": hard}})
    limits = [{"type": "Container", "max": {"cpu": "8"}}]
    bed.api("POST", f"{path}/limitranges", {"metadata": {"name": "range"}, "spec": {"limits": limits}})


def test_refused_pods_are_reported_in_the_step_and_by_one_event(
    operator: RunningOperator, cluster: Cluster, bed: Bed
) -> None:
    restrict(bed, cluster.namespace)
    for name, (step, spec, _) in REFUSED.items():
        cluster.apply(manifest(name, {**CONVERT, **step}, **spec))
    for name, (_, _, text) in REFUSED.items():
        found = cluster.wait(name, lambda found: step_of(found, "convert").get("reason") == "FailedCreate", name)
        reported = step_of(found, "convert")
        assert (reported["state"], ready_reason(found)) == ("Starting", "Starting")
        assert text.replace("NAMESPACE", cluster.namespace) in reported["message"]
        assert reported["message"] in (condition(found, "Ready") or {})["message"]
        assert "activeSince" not in found["status"]
        cluster.wait_event(name, "FailedCreate")
    warnings = [event for name in REFUSED for event in cluster.events(name) if event["type"] == "Warning"]
    assert [event["reason"] for event in warnings] == ["FailedCreate"] * len(REFUSED)


def test_step_runs_and_loses_its_reason_when_the_quota_is_raised(
    operator: RunningOperator, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(seconds=None))
    path = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas"
    bed.api("POST", path, {"metadata": {"name": "pods"}, "spec": {"hard": {"pods": "0"}}})
    cluster.apply(manifest("raised", CONVERT))
    cluster.wait_step("raised", "convert", reason="FailedCreate")
    bed.api("PATCH", f"{path}/pods", {"spec": {"hard": {"pods": "1"}}})
    step = cluster.wait_step("raised", "convert", state="Running", reason="Converting")
    assert step.get("message", "") == ""
    assert ready_reason(cluster.experiment("raised") or {}) == "Running"


def test_failed_mount_is_reported_from_the_events_of_the_pod(
    operator: RunningOperator, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(waiting="ContainerCreating"))
    cluster.apply(manifest("mounts", CONVERT))
    cluster.wait_for(lambda: any(pod["spec"].get("nodeName") for pod in cluster.pods()), "the pod to be bound")
    pod = cluster.pods()[0]["metadata"]
    about = {"kind": "Pod", "namespace": cluster.namespace, "name": pod["name"], "uid": pod["uid"]}
    text = 'MountVolume.SetUp failed for volume "key" : secret "absent" not found'
    now = bed.api("GET", f"/api/v1/namespaces/{cluster.namespace}/pods/{pod['name']}")["metadata"]["creationTimestamp"]
    event = {
        "metadata": {"name": "mount", "namespace": cluster.namespace},
        "involvedObject": about, "type": "Warning", "reason": "FailedMount", "message": text,
        "firstTimestamp": now, "lastTimestamp": now, "source": {"component": "kubelet"},
    }  # fmt: skip
    bed.api("POST", f"/api/v1/namespaces/{cluster.namespace}/events", event)
    step = cluster.wait_step("mounts", "convert", reason="FailedMount")
    assert (step["state"], step["message"]) == ("Starting", text)
    cluster.wait_event("mounts", "FailedMount")
