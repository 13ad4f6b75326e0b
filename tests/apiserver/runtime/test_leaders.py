"""Two replicas: one leads, both are ready, and the second continues where the first has stopped."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from tests.apiserver import audit
from tests.apiserver.account import LEASE, USER
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, TRAIN, Cluster, manifest
from tests.apiserver.runtime.proxy import Proxy
from tests.apiserver.runtime.running import RunningOperator

from maskrcnn_operator.metrics.process import REGISTRY

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


def reconciliations() -> float:
    name = "maskrcnn_operator_reconcile_duration_seconds_count"
    return REGISTRY.get_sample_value(name, {"result": "success"}) or 0.0


def holder(bed: Bed, namespace: str) -> str:
    lease = bed.api("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")
    return str(lease["spec"].get("holderIdentity") or "")


def ready(replica: RunningOperator) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{replica.port('health')}/readyz") as answer:
        return bool(answer.status == 200)


def test_second_replica_takes_over_when_the_leader_stops(
    start_operator: StartOperator, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None))
    first = start_operator().wait_leading()
    before = holder(bed, cluster.namespace)
    second = start_operator()
    cluster.apply(manifest("handed", CONVERT, TRAIN, EVALUATE))
    kubelet.wait_running("train")
    cluster.wait_ready("handed", "Running")
    assert second.operator is not None
    standing_by = second.operator
    cluster.wait_for(lambda: standing_by.cache.experiment(cluster.namespace, "handed") is not None, "the cache to fill")
    assert ready(first)
    assert ready(second)
    assert (first.leads, second.leads) == (True, False)
    first.stop()
    second.wait_leading()
    assert holder(bed, cluster.namespace) not in ("", before)
    kubelet.finish("train")
    done = cluster.wait_ready("handed", "Succeeded")
    assert [step["attempt"] for step in done["status"]["steps"]] == [1, 1, 1]
    second.stop()
    assert holder(bed, cluster.namespace) == ""


@pytest.mark.usefixtures("kubelet")
def test_leader_that_cannot_renew_stops_writing_and_is_replaced(
    start_operator: StartOperator, cluster: Cluster, bed: Bed, account: Path, tmp_path: Path
) -> None:
    with Proxy(bed, tmp_path, account) as proxy:
        first = start_operator(kubeconfig=proxy.kubeconfig).wait_leading()
        second = start_operator()
        proxy.fault("PUT", "/leases/", 500, times=10_000)
        proxy.fault("GET", "/leases/", 500, times=10_000)
        second.wait_leading()
        assert not first.leads
        writes = [call for call in proxy.calls if call[0] != "GET"]
        cluster.apply(manifest("taken", CONVERT))
        cluster.wait_ready("taken", "Succeeded")
        after = [call for call in proxy.calls if call[0] != "GET" and "/leases/" not in call[1]]
        assert after == [call for call in writes if "/leases/" not in call[1]]
        proxy.faults.clear()
        second.stop()
        first.wait_leading()
        cluster.apply(manifest("again", CONVERT))
        cluster.wait_ready("again", "Succeeded")
        first.stop()


def test_idle_or_restarted_operator_writes_nothing(
    start_operator: StartOperator, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None))
    first = start_operator()
    cluster.apply(manifest("ended", CONVERT))
    cluster.apply(manifest("asleep", CONVERT, suspend=True))
    cluster.apply(manifest("going", CONVERT, TRAIN))
    cluster.wait_ready("ended", "Succeeded")
    cluster.wait_ready("asleep", "Suspended")
    cluster.wait_step("going", "train", state="Running")
    names = ("ended", "asleep", "going")
    before = {name: cluster.experiment(name) for name in names}
    first.stop()
    offset = bed.audit_log.stat().st_size
    looks = reconciliations()
    second = start_operator(resync_seconds=0.5).wait_leading()
    cluster.wait_for(lambda: reconciliations() >= looks + 3 * len(names), "three reconciliations of every experiment")
    second.stop()
    calls = list(audit.calls(bed.audit_log, user=USER, offset=offset))
    assert [call for call in calls if call.writes and call.resource != "leases"] == []
    assert {name: cluster.experiment(name) for name in names} == before
