"""Inputs by URL on a real API server: its pods, and the claim of the cache."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.runtime.experiments import CONVERT, GANG, Cluster, condition, manifest
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

STORES = [
    {"prefix": "s3://data", "secretRef": {"name": "store-keys"}},
    {"prefix": "az://models", "account": "lab", "secretRef": {"name": "other-keys"}},
]
COPIES = {"persistentVolumeClaim": {"claimName": "copies"}}


@pytest.mark.parametrize("cache", [{"sizeLimit": "1.5Gi"}, COPIES], ids=["emptyDir", "claim"])
def test_server_accepts_a_pod_with_stores_and_a_cache(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet, cache: dict[str, Any]
) -> None:
    cluster.claim("ReadWriteMany", name="copies")
    cluster.apply(manifest("remote", CONVERT, objectStores=STORES, cache=cache))
    cluster.wait_ready("remote", "Succeeded")
    (job,) = cluster.jobs().values()
    found = {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert {"maskrcnn-cache", "maskrcnn-store-0", "maskrcnn-store-1"} <= found


def test_gang_needs_a_shared_cache(operator: RunningOperator, cluster: Cluster) -> None:
    cluster.claim("ReadWriteOnce", name="copies")
    cluster.apply(manifest("remote", GANG, objectStores=STORES, cache=COPIES))
    stalled = condition(cluster.wait_ready("remote", "CacheNotShared"), "Stalled")
    assert stalled is not None
    assert "copies (spec.cache.persistentVolumeClaim)" in stalled["message"]
    assert not cluster.jobs()
