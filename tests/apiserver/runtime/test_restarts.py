"""Attempts that don't succeed: which of them count, and when the next one starts."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.conftest import StartOperator
from tests.apiserver.runtime.experiments import CONVERT, GANG, TRAIN, Cluster, manifest, step_of
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


def test_failed_gang_restarts_after_backoff_and_is_counted(
    start_operator: StartOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    start_operator(plan={"back_off_base": timedelta(seconds=10)})
    kubelet.play("train", Play(seconds=None), attempt=1)
    cluster.apply(manifest("gang", GANG))
    kubelet.wait_running("train", pods=2)
    kubelet.finish("train", Play(exit_code=1), index=1)
    waiting = cluster.wait_step("gang", "train", reason="BackOff", restarts=1)
    assert waiting["state"] == "Pending"
    assert waiting["attempt"] == 1
    assert "nextAttemptTime" in waiting
    done = cluster.wait_ready("gang", "Succeeded")
    step = step_of(done, "train")
    assert (step["attempt"], step["restarts"], done["status"]["restarts"]) == (2, 1, 1)
    second = cluster.jobs()["train/2"]
    started = datetime.fromisoformat(second["metadata"]["creationTimestamp"])
    assert started >= datetime.fromisoformat(waiting["nextAttemptTime"])
    assert sorted(facts.attempt for facts in kubelet.started) == [1, 1, 2, 2]
    # the Job of the previous attempt is deleted when the next one exists
    cluster.wait_for(lambda: set(cluster.jobs()) == {"train/2"}, "the deletion of the first attempt's Job")
    cluster.wait_event("gang", "StepRestarting")


def test_step_fails_at_the_limit_of_restarts(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(exit_code=75))
    cluster.apply(manifest("tries", TRAIN, maxRestarts=1))
    step = step_of(cluster.wait_ready("tries", "Failed"), "train")
    assert (step["attempt"], step["restarts"], step["reason"]) == (2, 1, "TryAgain")
    assert "maxRestarts" in step["message"]


def test_oom_killed_container_is_reported_as_out_of_memory(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(exit_code=137, reason="OOMKilled", message=""))
    cluster.apply(manifest("memory", TRAIN, maxRestarts=0))
    assert step_of(cluster.wait_ready("memory", "Failed"), "train")["reason"] == "OutOfMemory"


def test_disrupted_gang_restarts_without_being_counted(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None, checkpoint_step=40), attempt=1)
    cluster.apply(manifest("moved", GANG, maxRestarts=0))
    kubelet.wait_running("train", pods=2)
    kubelet.finish("train", Play(disrupted=True, checkpoint_step=40), index=1)
    done = cluster.wait_ready("moved", "Succeeded")
    step = step_of(done, "train")
    assert (step["attempt"], step["restarts"], done["status"]["restarts"]) == (2, 0, 0)


def test_complete_job_without_termination_message_restarts(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("convert", Play(message=""), attempt=1)
    cluster.apply(manifest("silent", CONVERT))
    step = step_of(cluster.wait_ready("silent", "Succeeded"), "convert")
    assert (step["attempt"], step["restarts"]) == (2, 0)


def test_step_that_does_not_start_fails_at_its_pre_running_deadline(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(waiting="ImagePullBackOff"))
    cluster.apply(manifest("waits", TRAIN, preRunningDeadlineSeconds=3, maxRestarts=0))
    cluster.wait_step("waits", "train", state="Starting", reason="ImagePullBackOff")
    step = step_of(cluster.wait_ready("waits", "Failed"), "train")
    assert step["reason"] == "PreRunningDeadlineExceeded"
    assert "ImagePullBackOff" in step["message"]


def test_experiment_fails_at_its_active_deadline(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None))
    cluster.apply(manifest("long", TRAIN, activeDeadlineSeconds=3))
    step = step_of(cluster.wait_ready("long", "Failed"), "train")
    assert step["reason"] == "DeadlineExceeded"
    cluster.wait_for(lambda: not kubelet.running("train"), "the pod to end")


def test_job_deleted_by_another_client_is_replaced(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None), attempt=1)
    cluster.apply(manifest("stolen", TRAIN))
    kubelet.wait_running("train")
    job = cluster.wait_step("stolen", "train", state="Running")["jobName"]
    cluster.delete_job(job)
    step = step_of(cluster.wait_ready("stolen", "Succeeded"), "train")
    assert (step["attempt"], step["restarts"]) == (2, 0)


def test_step_is_queued_when_another_controller_suspends_its_job(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None))
    cluster.apply(manifest("queued", TRAIN))
    kubelet.wait_running("train")
    job = cluster.wait_step("queued", "train", state="Running")["jobName"]
    path = f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs/{job}"
    cluster.bed.api("PATCH", path, {"spec": {"suspend": True}})
    found = cluster.wait_ready("queued", "Queued")
    step = step_of(found, "train")
    assert (step["state"], step["attempt"], step["restarts"]) == ("Queued", 1, 0)
    kubelet.play("train", Play())
    cluster.bed.api("PATCH", path, {"spec": {"suspend": False}})
    assert step_of(cluster.wait_ready("queued", "Succeeded"), "train")["attempt"] == 1


def test_job_for_a_queue_is_created_suspended(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    cluster.apply(manifest("kueue", CONVERT, queueName="team"))
    cluster.wait_ready("kueue", "Queued")
    job = cluster.jobs()["convert/1"]
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    path = f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs/{job['metadata']['name']}"
    cluster.bed.api("PATCH", path, {"spec": {"suspend": False}})
    cluster.wait_ready("kueue", "Succeeded")


def test_step_waits_while_the_name_of_its_job_is_taken(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    created = cluster.apply(manifest("named", CONVERT, suspend=True))
    cluster.wait_ready("named", "Suspended")
    from maskrcnn_operator.jobs.names import job_name

    name = job_name("named", "convert", 1, created["metadata"]["uid"])
    pod = {"containers": [{"name": "x", "image": "x"}], "restartPolicy": "Never"}
    foreign = {"metadata": {"name": name}, "spec": {"suspend": True, "template": {"spec": pod}}}
    cluster.bed.api("POST", f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs", foreign)
    cluster.edit("named", {"suspend": False})
    step = cluster.wait_step("named", "convert", reason="NameTaken")
    assert name in step["message"]
    assert step["attempt"] == 0
    cluster.delete_job(name)
    # an edit triggers an immediate retry
    cluster.edit("named", {"maxRestarts": 4})
    cluster.wait_ready("named", "Succeeded")


def test_job_refused_by_the_api_server_is_reported(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    path = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas"
    cluster.bed.api("POST", path, quota)
    cluster.wait_for(lambda: "used" in cluster.bed.api("GET", f"{path}/none").get("status", {}), "the quota")
    cluster.apply(manifest("quota", CONVERT))
    step = cluster.wait_step("quota", "convert", reason="JobRefused")
    assert "exceeded quota" in step["message"]
    cluster.bed.api("DELETE", f"{path}/none")
    cluster.edit("quota", {"maxRestarts": 4})
    cluster.wait_ready("quota", "Succeeded")
