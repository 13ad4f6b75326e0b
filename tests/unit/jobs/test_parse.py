"""Views of objects from the API server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from maskrcnn_operator.jobs.parse import job_view, pod_view
from maskrcnn_operator.jobs.views import JobCondition, JobView, PodView

from .conftest import UID, at, job_object, pod_object


def test_view_of_a_job() -> None:
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


@pytest.mark.parametrize(
    ("given", "read"),
    [(None, ()), ("", ()), ("a-v1", ("a-v1",)), ("a-v1 b-v2", ("a-v1", "b-v2")), (7, ()), (["a-v1"], ())],
)
def test_older_fingerprints(given: object, read: tuple[str, ...]) -> None:
    for make, view in ((job_object, job_view), (pod_object, pod_view)):
        value = make()
        value["metadata"]["annotations"]["maskrcnn.dev/older-fingerprints"] = given
        assert view(value).older_fingerprints == read


def test_condition_that_is_not_true_is_left_out() -> None:
    value = job_object(failed=("x", "y"))
    value["status"]["conditions"][0]["status"] = "False"
    assert job_view(value).conditions == ()


def test_labels_do_not_identify_the_owner() -> None:
    value = job_object()
    value["metadata"]["ownerReferences"] = [{"kind": "MaskRCNNExperiment", "uid": UID}]
    assert job_view(value).experiment_uid == ""
    value["metadata"]["ownerReferences"] = [{"kind": "CronJob", "uid": UID, "controller": True}]
    assert job_view(value).experiment_uid == ""


def test_view_of_a_pod_that_ended() -> None:
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
        container_exit_code=137,
        termination_message="{}",
        reason="OOMKilled",
        creation=at(1),
        started_at=at(2),
        finished_at=at(60),
        deletion_timestamp=at(70),
    )
    assert view.terminal


def test_reason_why_a_pod_waits() -> None:
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


def test_disruption_has_the_reason_of_its_condition() -> None:
    evicted = pod_view(pod_object(phase="Failed", code=143, disrupted=True))
    assert (evicted.reason, evicted.message) == ("EvictionByEvictionAPI", "Eviction API: evicting")
    full = pod_view(
        pod_object(phase="Failed", code=137, disrupted=True, pod_reason=("Evicted", "The node was low on memory"))
    )
    assert (full.reason, full.message) == ("Evicted", "The node was low on memory")
    killed = pod_view(pod_object(phase="Failed", code=137, disrupted=True, container_reason="OOMKilled"))
    assert killed.reason == "OOMKilled"


@pytest.mark.parametrize(
    ("fields", "ended", "succeeded", "has_run"),
    [
        ({"phase": "Pending"}, False, False, False),
        ({}, False, False, True),
        ({"ready": False}, False, False, True),
        ({"phase": "Succeeded", "code": 0}, True, True, True),
        ({"phase": "Failed", "code": 1}, True, False, True),
        ({"phase": "Failed", "pod_reason": ("Evicted", "low on memory")}, True, False, False),
        ({"phase": "Failed", "code": 128, "container_reason": "StartError"}, True, False, False),
        # a sidecar outlives the trainer, or fails after it
        ({"code": 0, "sidecar": "running"}, True, True, True),
        ({"code": 1, "sidecar": "running"}, True, False, True),
        ({"phase": "Failed", "code": 0, "sidecar": "terminated"}, True, True, True),
    ],
)
def test_state_of_a_pods_task(fields: dict[str, Any], ended: bool, succeeded: bool, has_run: bool) -> None:
    view = pod_view(pod_object(**fields))
    assert (view.ended, view.succeeded, view.failed) == (ended, succeeded, ended and not succeeded)
    assert view.has_run == has_run
    assert view.accompanied == (fields.get("sidecar") == "running")


def test_a_pod_whose_node_does_not_answer_still_runs() -> None:
    view = pod_view(pod_object(ready=False))
    assert not view.ready
    assert view.running
    assert not view.terminal


def test_views_of_empty_objects() -> None:
    empty_job, empty_pod = job_view({"metadata": {"name": "x"}}), pod_view({"metadata": None, "status": None})
    assert (empty_job.name, empty_job.attempt, empty_job.finished, empty_job.parallelism) == ("x", 0, False, 1)
    assert (empty_pod.phase, empty_pod.job_uid, empty_pod.terminal, empty_pod.running) == ("Pending", "", False, False)
    strange = job_object()
    strange["metadata"]["labels"]["maskrcnn.dev/attempt"] = "-1²"
    assert job_view(strange).attempt == 0


LONG = "9" * 5_000


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"batch.kubernetes.io/job-completion-index": LONG}}},
        {"metadata": {"labels": {"maskrcnn.dev/attempt": LONG}}},
        {"metadata": {"labels": {"maskrcnn.dev/attempt": "2147483648"}}},
        {"metadata": {"labels": ["maskrcnn.dev/attempt"]}},
        {"metadata": {"deletionTimestamp": "soon"}},
        {"metadata": {"creationTimestamp": 7}},
        {"metadata": {"ownerReferences": {"kind": "Job", "controller": True}}},
        {"metadata": {"ownerReferences": ["Job", None]}},
        {"metadata": {"uid": ["x"], "name": {}, "namespace": 7}},
        {"spec": {"parallelism": "many", "template": [], "suspend": "no", "nodeName": ["a"]}},
        {"spec": {"parallelism": 10**400, "template": {"spec": {"containers": {"name": "trainer"}}}}},
        {"status": {"containerStatuses": 7, "conditions": {"Ready": "True"}, "phase": []}},
        {"status": {"containerStatuses": [7, {"name": "trainer", "state": "running"}]}},
        {
            "status": {
                "conditions": [{"type": {}, "status": "True"}, "Complete", {"type": "PodScheduled", "status": []}]
            }
        },
        {"status": "Running"},
    ],
)
def test_values_of_wrong_types_count_as_absent(change: dict[str, Any]) -> None:
    job, pod = job_view(change), pod_view(change)
    assert (job.attempt, job.experiment_uid, job.parallelism, job.suspended, job.image) == (0, "", 1, False, None)
    assert (job.start_time, job.creation, job.deletion_timestamp) == (None, None, None)
    assert (pod.attempt, pod.index, pod.job_uid, pod.phase) == (0, 0, "", "Pending")
    assert (pod.exit_code, pod.reason, pod.message, pod.deletion_timestamp) == (None, "", "", None)
    assert all(isinstance(text, str) for text in (job.uid, job.name, job.namespace, pod.uid, pod.name, pod.node))


@pytest.mark.parametrize("value", [None, 7, "pod", [], [{"metadata": {}}]])
def test_value_that_is_not_an_object_counts_as_empty(value: object) -> None:
    assert job_view(value) == job_view({})
    assert pod_view(value) == pod_view({})


@pytest.mark.parametrize("code", ["x", True, 1.5, 10**400, 2**31, None, [1]], ids=lambda code: str(code)[:12])
def test_an_exit_code_that_kubernetes_lacks_is_none(code: object) -> None:
    value = pod_object(phase="Failed", code=1)
    value["status"]["containerStatuses"][1]["state"]["terminated"]["exitCode"] = code
    assert pod_view(value).exit_code is None


def test_texts_are_bounded_and_have_no_lone_surrogates() -> None:
    value = pod_object(phase="Failed", code=1, said="\udce9" * 5_000, pod_reason=("\udce9" * 300, "ü" * 5_000))
    view = pod_view(value)
    assert view.termination_message == "\ufffd" * 4_096
    assert (view.reason, view.message) == ("\ufffd" * 253, "ü" * 4_096)
    failed = job_view(job_object(failed=("x" * 300, "\ud800" * 5_000))).conditions
    assert failed == (JobCondition("Failed", "x" * 253, "\ufffd" * 4_096, at(100)),)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T12:00:00", at(0)),
        ("2026-11-22T13:00:00+01:00", at(0)),
        ("0001-01-01T00:00:00+23:59", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59-23:59", datetime(3000, 1, 1, tzinfo=UTC)),
        ("2026-13-45T00:00:00Z", None),
    ],
)
def test_times_allow_calculations(text: str, moment: datetime | None) -> None:
    value = pod_object()
    value["metadata"]["deletionTimestamp"] = text
    assert pod_view(value).deletion_timestamp == moment


def test_a_list_of_a_million_entries_is_not_read_to_its_end() -> None:
    value = job_object()
    value["status"]["conditions"] = [{"type": "Failed", "status": "True"}] * 100_000
    assert len(job_view(value).conditions) == 64
