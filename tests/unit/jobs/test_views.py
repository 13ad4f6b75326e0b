"""Objects of the API server as views."""

from __future__ import annotations

from maskrcnn_operator.jobs.views import JobCondition, JobView, PodView, job_view, pod_view

from .conftest import UID, at, job_object, pod_object


def test_a_job() -> None:
    failed = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    view = job_view(job_object("train", 3, nodes=2, queue="gpus", suspend=True, failed=failed, deleted=200))
    assert view == JobView(
        uid="job-train-3",
        name="nuclei-train-3-abcde",
        namespace="lab",
        resource_version="7",
        experiment="nuclei",
        step="train",
        attempt=3,
        experiment_uid=UID,
        fingerprint="train-v1",
        image="trainer:1",
        queue="gpus",
        suspended=True,
        conditions=(JobCondition("Failed", *failed, at(100)),),
        start_time=at(1),
        creation=at(0),
        deletion_timestamp=at(200),
        parallelism=2,
    )
    assert view.finished


def test_a_condition_that_is_not_true_is_none() -> None:
    value = job_object(failed=("x", "y"))
    value["status"]["conditions"][0]["status"] = "False"
    assert job_view(value).conditions == ()


def test_labels_prove_nothing() -> None:
    value = job_object()
    value["metadata"]["ownerReferences"] = [{"kind": "MaskRCNNExperiment", "uid": UID}]
    assert job_view(value).experiment_uid == ""
    value["metadata"]["ownerReferences"] = [{"kind": "CronJob", "uid": UID, "controller": True}]
    assert job_view(value).experiment_uid == ""


def test_a_pod_that_ended() -> None:
    view = pod_view(
        pod_object(index=1, phase="Failed", code=137, said="{}", ended=60, container_reason="OOMKilled", deleted=70)
    )
    assert view == PodView(
        uid="pod--train-1-1",
        name="nuclei-train-1-1",
        namespace="lab",
        experiment="nuclei",
        step="train",
        attempt=1,
        experiment_uid=UID,
        fingerprint="train-v1",
        job_uid="job-train-1",
        index=1,
        node="node-a",
        phase="Failed",
        container_state="terminated",
        exit_code=137,
        termination_message="{}",
        reason="OOMKilled",
        creation=at(1),
        finished_at=at(60),
        deletion_timestamp=at(70),
    )
    assert view.terminal


def test_why_a_pod_waits() -> None:
    pulling = pod_view(pod_object(phase="Pending", waiting=("ImagePullBackOff", "Back-off pulling image")))
    assert (pulling.reason, pulling.message, pulling.container_state) == (
        "ImagePullBackOff",
        "Back-off pulling image",
        "waiting",
    )
    nowhere = pod_view(pod_object(phase="Pending", node="", unschedulable="0/3 nodes are available"))
    assert (nowhere.reason, nowhere.message, nowhere.node) == ("Unschedulable", "0/3 nodes are available", "")
    evicted = pod_view(pod_object(phase="Failed", pod_reason=("Evicted", "The node was low on memory"), disrupted=True))
    assert (evicted.reason, evicted.disrupted, evicted.exit_code) == ("Evicted", True, None)


def test_a_pod_whose_node_does_not_answer_still_runs() -> None:
    view = pod_view(pod_object(ready=False))
    assert not view.ready
    assert view.running
    assert not view.terminal


def test_objects_with_nothing_in_them() -> None:
    empty_job, empty_pod = job_view({"metadata": {"name": "x"}}), pod_view({"metadata": None, "status": None})
    assert (empty_job.name, empty_job.attempt, empty_job.finished, empty_job.parallelism) == ("x", 0, False, 1)
    assert (empty_pod.phase, empty_pod.job_uid, empty_pod.terminal, empty_pod.running) == ("Pending", "", False, False)
    strange = job_object()
    strange["metadata"]["labels"]["maskrcnn.dev/attempt"] = "-1²"
    assert job_view(strange).attempt == 0
