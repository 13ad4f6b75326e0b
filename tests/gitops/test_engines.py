"""Experiments under Argo CD and Flux: their health in each state, and no drift after the operator has run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import CONVERT, Cluster, manifest
from tests.apiserver.runtime.running import RunningOperator
from tests.gitops.conftest import Engine

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

GOOD, BAD, BUCKET = "good", "bad", "bucket"
NAMES = (GOOD, BAD, BUCKET)
IN_A_BUCKET: dict[str, Any] = {
    "workspace": {"objectStorage": {"url": "s3://data/team", "takeOverFrom": "old-cluster/2", "scratch": {}}},
    "objectStores": [{"prefix": "s3://data", "secretRef": {"name": "store-keys"}}],
}


def objects(suspend: bool = False) -> list[dict[str, Any]]:
    steps = {GOOD: CONVERT, BAD: {**CONVERT, "name": "broken"}, BUCKET: CONVERT}
    fields = {BUCKET: IN_A_BUCKET}
    suspended = {"suspend": True} if suspend else {}
    return [manifest(name, steps[name], **fields.get(name, {}), **suspended) for name in NAMES]


def until(answer: Callable[[], dict[str, Any]], key: str, expected: dict[str, str]) -> dict[str, Any]:
    found = answer()
    for _ in range(20):
        if found[key] == expected:
            return found
        found = answer()
    raise AssertionError(f"expected {key} {expected}, got {found}")


def test_argo_cd_shows_each_state_and_no_drift(
    bed: Bed, crd: None, cluster: Cluster, operator: RunningOperator, argocd: Engine
) -> None:
    manifests = objects(suspend=True)
    synced = argocd("sync", *manifests)
    assert synced["synced"] == dict.fromkeys(NAMES, "Synced"), synced

    def states() -> dict[str, Any]:
        return argocd("diff", *manifests)

    suspended = until(states, "health", dict.fromkeys(NAMES, "Suspended"))
    assert suspended["modified"] == []

    manifests = objects()
    assert states()["modified"] == list(NAMES)
    argocd("sync", *manifests)
    running = until(states, "health", dict.fromkeys(NAMES, "Progressing"))
    assert running["modified"] == []
    with PlayedKubelet(bed.rest, cluster.namespace) as kubelet:
        kubelet.play("broken", Play(exit_code=64))
        ended = until(states, "health", {GOOD: "Healthy", BAD: "Degraded", BUCKET: "Healthy"})
    assert ended["modified"] == []
    assert argocd("sync", *manifests)["synced"] == dict.fromkeys(NAMES, "Synced")
    assert states()["modified"] == []


def test_flux_shows_each_state_and_no_drift(
    bed: Bed, crd: None, cluster: Cluster, operator: RunningOperator, flux: Engine
) -> None:
    suspended = flux(*objects(suspend=True))
    assert suspended["applied"] == dict.fromkeys(NAMES, "created")
    manifests = objects()
    assert flux(*manifests)["applied"] == dict.fromkeys(NAMES, "configured")
    running = until(lambda: flux(*manifests), "status", dict.fromkeys(NAMES, "InProgress"))
    assert running["applied"] == dict.fromkeys(NAMES, "unchanged")
    with PlayedKubelet(bed.rest, cluster.namespace) as kubelet:
        kubelet.play("broken", Play(exit_code=64))
        ended = until(lambda: flux(*manifests), "status", {GOOD: "Current", BAD: "Failed", BUCKET: "Current"})
    assert ended["applied"] == dict.fromkeys(NAMES, "unchanged")
