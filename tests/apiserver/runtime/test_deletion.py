"""Deletion of experiments, and pods that don't end."""

from __future__ import annotations

import pytest
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, GANG, TRAIN, Cluster, manifest, step_of
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_deletion_collects_everything(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet, propagation: str
) -> None:
    kubelet.play("train", Play(seconds=None))
    cluster.apply(manifest("gone", CONVERT, GANG))
    kubelet.wait_running("train", pods=2)
    cluster.delete("gone", propagation=propagation)
    cluster.wait_for(lambda: cluster.experiment("gone") is None, "the deletion of the experiment")
    cluster.wait_for(lambda: not cluster.jobs() and not cluster.pods(), "the deletion of its Jobs and pods")
    services = f"/api/v1/namespaces/{cluster.namespace}/services"
    cluster.wait_for(lambda: not cluster.bed.api("GET", services)["items"], "the deletion of its Service")
    # nothing is started during the deletion
    assert {facts.attempt for facts in kubelet.started} == {1}


def test_recreated_experiment_waits_for_pods_of_the_deleted_one(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None, stop_seconds=8.0))
    first = cluster.apply(manifest("twice", TRAIN))
    [old] = kubelet.wait_running("train")
    cluster.delete("twice")
    cluster.wait_for(lambda: cluster.experiment("twice") is None, "the deletion of the experiment")
    kubelet.play("train", Play())
    second = cluster.apply(manifest("twice", TRAIN))
    waiting = cluster.wait_step("twice", "train", reason="WaitingForPods")
    assert old.name in waiting["message"]
    done = cluster.wait_ready("twice", "Succeeded")
    assert step_of(done, "train")["attempt"] == 1
    assert first["metadata"]["uid"] != second["metadata"]["uid"] == done["metadata"]["uid"]
    job = cluster.jobs()["train/1"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == second["metadata"]["uid"]


def test_next_attempt_starts_when_a_pod_that_does_not_end_counts_as_lost(
    start_operator: StartOperator, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_patience(monkeypatch, seconds=2)
    start_operator()
    kubelet.play("train", Play(seconds=None), attempt=1)
    kubelet.play("train", Play(seconds=None, lost=True, node="broken-node"), attempt=1, index=1)
    cluster.apply(manifest("lost", GANG, maxRestarts=0))
    pods = {facts.index: facts for facts in kubelet.wait_running("train", pods=2)}
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pods[1].name}"
    bed.api("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 1})
    step = cluster.wait_step("lost", "train", reason="NodeLost")
    assert "broken-node" in step["message"]
    assert "out-of-service" in step["message"]
    done = cluster.wait_ready("lost", "Succeeded")
    step = step_of(done, "train")
    assert (step["attempt"], step["restarts"]) == (2, 0)
    # the lost pod still exists, but no step waits for it
    assert pods[1].name in [pod["metadata"]["name"] for pod in cluster.pods()]


def test_lost_pod_of_deleted_experiment_delays_the_recreated_one_temporarily(
    start_operator: StartOperator, cluster: Cluster, bed: Bed, kubelet: PlayedKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_patience(monkeypatch, seconds=2)
    start_operator()
    kubelet.play("convert", Play(seconds=None, lost=True), attempt=1)
    cluster.apply(manifest("stuck", CONVERT, podOverrides={"terminationGracePeriodSeconds": 1}))
    kubelet.wait_running("convert")
    cluster.delete("stuck")
    cluster.wait_for(lambda: cluster.experiment("stuck") is None, "the deletion of the experiment")
    kubelet.play("convert", Play(), attempt=1)
    cluster.apply(manifest("stuck", CONVERT))
    cluster.wait_step("stuck", "convert", reason="WaitingForPods")
    cluster.wait_ready("stuck", "Succeeded")


def shorten_patience(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let a pod count as lost ``seconds`` after its grace period instead of a minute."""
    from datetime import timedelta

    from maskrcnn_operator.jobs import attempt

    monkeypatch.setattr(attempt, "LOST_AFTER", timedelta(seconds=seconds))
