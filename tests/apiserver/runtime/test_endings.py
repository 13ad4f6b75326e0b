"""Ends of attempts: disruptions, preemptions as Kueue does them, and sidecars that outlive the trainer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.apiserver import invariants
from tests.apiserver.bed import Bed
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, GANG, TRAIN, Cluster, manifest, step_of
from tests.apiserver.runtime.running import RunningOperator
from tests.apiserver.soak.observer import Observer

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]

POLICIES = "/apis/admissionregistration.k8s.io/v1"


@pytest.fixture
def sidecars(bed: Bed, cluster: Cluster) -> Iterator[None]:
    """Add a container to every pod of the namespace, as a service mesh does."""
    namespace = cluster.namespace
    container = 'Object.spec.containers{name: "mesh", image: "registry.example/mesh:1"}'
    patch = f'[JSONPatch{{op: "add", path: "/spec/containers/-", value: {container}}}]'
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy = {
        "metadata": {"name": f"mesh-{namespace}"},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {"namespaceSelector": here, "resourceRules": [rule]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        },
    }
    binding = {"metadata": {"name": f"mesh-{namespace}"}, "spec": {"policyName": f"mesh-{namespace}"}}
    kinds = {"mutatingadmissionpolicies": policy, "mutatingadmissionpolicybindings": binding}
    for kind, value in kinds.items():
        bed.api("POST", f"{POLICIES}/{kind}", value)
    pod = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "probe", "image": "x"}]}}
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    # The API server takes a while to apply a new policy.
    cluster.wait_for(lambda: len(bed.api("POST", path, pod)["spec"]["containers"]) == 2, "the policy to take effect")
    yield
    for kind in kinds:
        bed.api("DELETE", f"{POLICIES}/{kind}/mesh-{namespace}")


def suspend_job(cluster: Cluster, name: str, value: bool) -> None:
    """Set ``suspend`` as Kueue does when it preempts a Workload and when it readmits it."""
    path = f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs/{name}"
    cluster.bed.api("PATCH", path, {"spec": {"suspend": value}})


def preempted_and_resumed(cluster: Cluster, kubelet: PlayedKubelet, step: str, pods: int) -> dict[str, Any]:
    """Preempt the running Job of a step and resume it; return the Job from before the preemption."""
    kubelet.wait_running(step, pods=pods)
    [job] = cluster.jobs().values()
    cluster.wait_step("kueue", step, state="Running")
    suspend_job(cluster, job["metadata"]["name"], True)
    cluster.wait_step("kueue", step, state="Queued")
    cluster.wait_for(lambda: not cluster.pods(), "the deletion of the pods")
    suspend_job(cluster, job["metadata"]["name"], False)
    return job


def test_eviction_of_one_pod_is_reported_as_disruption(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(seconds=None), attempt=1)
    cluster.apply(manifest("evicted", CONVERT, maxRestarts=0))
    [first] = kubelet.wait_running("convert")
    kubelet.finish("convert", Play(disrupted=True))
    done = cluster.wait_ready("evicted", "Succeeded")
    step = step_of(done, "convert")
    assert (step["attempt"], step.get("restarts", 0), step["disruptions"]) == (2, 0, 1)
    assert done["status"].get("restarts", 0) == 0
    assert [facts.attempt for facts in kubelet.started] == [1, 2]
    cluster.wait_event("evicted", "StepRestarting")
    [event] = [event for event in cluster.events("evicted") if event["reason"] == "StepRestarting"]
    assert event["type"] == "Warning"
    assert f"Disrupted: pod {first.name} on node" in event["note"]
    assert "EvictionByEvictionAPI" in event["note"]


def test_step_fails_after_too_many_evictions(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    short = {"back_off_base": timedelta(milliseconds=1), "back_off_limit": timedelta(milliseconds=1)}
    start_operator(plan=short)
    kubelet.play("convert", Play(disrupted=True))
    cluster.apply(manifest("evicted", CONVERT, maxRestarts=0))
    step = step_of(cluster.wait_ready("evicted", "Failed"), "convert")
    assert (step["reason"], step["attempt"]) == ("DisruptedTooOften", 20)
    assert "20 attempts were disrupted without a newer checkpoint; last message: pod " in step["message"]
    assert len(kubelet.started) == 20


@pytest.mark.parametrize(("step", "pods"), [(TRAIN, 1), (GANG, 2)], ids=["one pod", "gang"])
def test_preemption_by_kueue_keeps_job_and_attempt(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet, step: dict[str, Any], pods: int
) -> None:
    start_operator(plan={"back_off_base": timedelta(seconds=5)})
    kubelet.play("train", Play(seconds=None, checkpoint_step=60))
    cluster.apply(manifest("kueue", step, queueName="team", maxRestarts=1))
    cluster.wait_ready("kueue", "Queued")
    [queued] = cluster.jobs().values()
    suspend_job(cluster, queued["metadata"]["name"], False)
    before = preempted_and_resumed(cluster, kubelet, "train", pods)
    kubelet.wait_running("train", pods=pods)
    [again] = cluster.jobs().values()
    assert again["metadata"]["uid"] == before["metadata"]["uid"] == queued["metadata"]["uid"]
    status = cluster.wait_step("kueue", "train", state="Running")
    assert (status["attempt"], status.get("restarts", 0), status.get("disruptions", 0)) == (1, 0, 0)
    # a later failure is reported and counted, whatever the termination messages of the earlier pods
    kubelet.finish("train", Play(exit_code=1, message="KeyError: 'loss'"))
    waiting = cluster.wait_step("kueue", "train", state="Pending")
    assert (waiting["exitCode"], waiting.get("restarts", 0), waiting.get("disruptions", 0)) == (1, 1, 0)
    assert "KeyError: 'loss'" in waiting["message"]
    # the new attempt is a new Job, which queues again
    cluster.wait_step("kueue", "train", state="Queued", attempt=2)


def test_step_succeeds_although_a_sidecar_outlives_the_trainer(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet, sidecars: None
) -> None:
    kubelet.default = Play(outlived=True)
    kubelet.play("train", Play(seconds=None, outlived=True))
    cluster.apply(manifest("mesh", GANG, EVALUATE, preRunningDeadlineSeconds=60))
    facts = kubelet.wait_running("train", pods=2)
    assert {len(found.pod["spec"]["containers"]) for found in facts} == {2}
    kubelet.finish("train", Play(outlived=True), index=0)
    # every index of a gang must end
    cluster.wait_for(lambda: any(_is_outlived(pod) for pod in cluster.pods()), "the trainer of index 0 to end")
    assert cluster.wait_step("mesh", "train", state="Running")["attempt"] == 1
    kubelet.finish("train", Play(outlived=True), index=1)
    done = cluster.wait_ready("mesh", "Succeeded")
    step = step_of(done, "train")
    assert (step["attempt"], step["exitCode"], step["reason"]) == (1, 0, "Completed")
    assert step["modelPath"]
    # the sidecars are ended, too
    cluster.wait_for(lambda: not cluster.pods() and not cluster.jobs(), "the deletion of pods and Jobs")


def test_step_is_retried_although_a_sidecar_outlives_the_trainer(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet, sidecars: None
) -> None:
    kubelet.play("convert", Play(exit_code=1, outlived=True, stop_seconds=2.0), attempt=1)
    with Observer(cluster.bed.rest) as observer:
        cluster.apply(manifest("mesh", CONVERT))
        done = cluster.wait_ready("mesh", "Succeeded")
        cluster.wait_for(lambda: _saw(observer, cluster, "Succeeded"), "the observer to see the end")
    step = step_of(done, "convert")
    assert (step["attempt"], step["restarts"], step.get("disruptions", 0)) == (2, 1, 0)
    assert invariants.attempts_side_by_side(observer.history) == []
    assert invariants.steps_that_start_again(observer.history) == []


def test_gang_stops_when_a_trainer_next_to_a_sidecar_fails(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet, sidecars: None
) -> None:
    kubelet.play("train", Play(seconds=None, outlived=True), attempt=1)
    cluster.apply(manifest("mesh", GANG))
    kubelet.wait_running("train", pods=2)
    kubelet.finish("train", Play(exit_code=1, outlived=True), index=1)
    step = step_of(cluster.wait_ready("mesh", "Succeeded"), "train")
    assert (step["attempt"], step["restarts"], step.get("disruptions", 0)) == (2, 1, 0)


def test_step_does_not_return_to_starting_when_its_pod_fails(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(exit_code=1, seconds=0.5))
    with Observer(cluster.bed.rest) as observer:
        cluster.apply(manifest("fails", TRAIN, maxRestarts=5))
        failed = cluster.wait_ready("fails", "Failed")
        cluster.wait_for(lambda: _saw(observer, cluster, "Failed"), "the observer to see the end")
    assert step_of(failed, "train")["exitCode"] == 1
    assert "runStartTime" in step_of(failed, "train")
    assert invariants.steps_that_start_again(observer.history) == []


def _is_outlived(pod: dict[str, Any]) -> bool:
    states = [item["state"] for item in pod["status"].get("containerStatuses", ())]
    return any("terminated" in state for state in states) and any("running" in state for state in states)


def _saw(observer: Observer, cluster: Cluster, reason: str) -> bool:
    return any(
        fact.reason == reason for name, fact in observer.experiments.items() if name.startswith(f"{cluster.namespace}/")
    )
