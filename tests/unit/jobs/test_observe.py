"""Jobs and pods as runs, one situation per test."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.jobs.observe import Observation, have_ended, missing_jobs, observe
from maskrcnn_operator.jobs.parse import job_view, pod_view
from maskrcnn_operator.jobs.views import PodView
from maskrcnn_operator.jobs.waiting import waiting_reason

from .conftest import Make, at, job_object, pod_object

DONE = json.dumps({"version": 1, "task": "train", "code": 0, "fingerprint": "train-v1", "checkpointStep": 100})
ANOTHER = "another-experiment"
SOON = at(10)


class See:
    """Function that observes objects of an experiment."""

    def __init__(self, make: Make) -> None:
        self.experiment = make()

    def all(self, *objects: dict[str, Any], now: datetime = SOON) -> Observation:
        jobs = [job_view(item) for item in objects if "template" in item["spec"]]
        pods = [pod_view(item) for item in objects if "template" not in item["spec"]]
        return observe(self.experiment, jobs, pods, now)

    def one(self, *objects: dict[str, Any], now: datetime = SOON) -> Run:
        (run,) = self.all(*objects, now=now).runs
        return run


@pytest.fixture
def see(make: Make) -> See:
    return See(make)


def worker_group(**second: Any) -> list[dict[str, Any]]:
    return [pod_object(index=0), pod_object(index=1, **second)]


def test_a_job_whose_pods_are_not_all_there_starts(see: See) -> None:
    for pods in ([], [pod_object()], worker_group(phase="Pending", waiting=("ContainerCreating", ""))):
        run = see.one(job_object(nodes=2), *pods)
        assert (run.state, run.waiting_reason, run.message, run.started) == ("Starting", "", "", at(1))
    assert (run.name, run.image, run.fingerprint) == ("nuclei-train-1-abcde", "trainer:1", "train-v1")
    assert (run.step, run.attempt, run.live, run.deleted) == ("train", 1, True, False)


@pytest.mark.parametrize("with_job", [True, False])
def test_a_run_knows_the_fingerprints_that_its_job_was_given(see: See, with_job: bool) -> None:
    job, pod = job_object(), pod_object()
    for value in (job, pod):
        value["metadata"]["annotations"]["maskrcnn.dev/older-fingerprints"] = "0000-v1"
    run = see.one(job, pod) if with_job else see.one(pod)
    assert (run.fingerprint, run.older_fingerprints) == ("train-v1", ("0000-v1",))


def test_a_job_whose_pods_all_run_runs(see: See) -> None:
    assert see.one(job_object(nodes=2), *worker_group()).state == "Running"
    # two pods of one index do not count as pods of two indexes
    assert see.one(job_object(nodes=2), pod_object(name="a"), pod_object(name="b")).state == "Starting"
    # its node does not respond
    assert see.one(job_object(nodes=2), *worker_group(ready=False)).state == "Running"
    # one pod has succeeded well before the other
    assert see.one(job_object(nodes=2), *worker_group(phase="Succeeded", code=0)).state == "Running"


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        (
            {"waiting": ("ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: x: not found')},
            "ImagePullBackOff",
            "1 of 2 pods: x: not found",
        ),
        ({"waiting": ("ErrImagePull", "x: not found")}, "ImagePullBackOff", "1 of 2 pods: x: not found"),
        ({"waiting": ("InvalidImageName", "bad")}, "InvalidImageName", "1 of 2 pods: bad"),
        (
            {"waiting": ("CreateContainerConfigError", 'secret "model-key" not found')},
            "CreateContainerConfigError",
            '1 of 2 pods: secret "model-key" not found',
        ),
        ({"waiting": ("RunContainerError", "")}, "CreateContainerError", "1 of 2 pods"),
        ({"node": "", "unschedulable": "0/3 nodes"}, "Unschedulable", "1 of 2 pods: 0/3 nodes"),
        ({"waiting": ("PodInitializing", "whatever")}, "", ""),
    ],
)
def test_reason_of_a_pod_that_does_not_run(see: See, fields: dict[str, Any], reason: str, message: str) -> None:
    run = see.one(job_object(nodes=2), *worker_group(phase="Pending", **fields))
    assert (run.state, run.waiting_reason, run.message) == ("Starting", reason, message)


def test_a_suspended_job_is_queued(see: See) -> None:
    ours = see.one(job_object(suspend=True, queue="gpus", start=None))
    assert (ours.state, ours.message, ours.started) == ("Queued", "waits for LocalQueue gpus", None)
    theirs = see.one(job_object(suspend=True, start=None), pod_object(deleted=9))
    assert (theirs.state, theirs.message) == ("Queued", "its Job was suspended by another controller or user")


def test_complete_job_has_succeeded(see: See) -> None:
    run = see.one(job_object(complete=90), pod_object(phase="Succeeded", code=0, said=DONE, ended=80), now=at(200))
    assert (run.state, run.exit_code, run.ended, run.disrupted) == ("Succeeded", 0, at(90), False)
    assert run.result is not None
    assert run.result.checkpoint_step == 100


def test_complete_job_waits_for_the_end_of_its_pods(see: See) -> None:
    """The Job is seen complete before its pods are."""
    late = see.all(job_object(complete=90), pod_object(), now=at(91))
    assert [run.state for run in late.runs] == ["Running"]
    unseen = see.all(job_object(complete=90), now=at(91))
    assert ([run.state for run in unseen.runs], unseen.wake_at) == (["Running"], at(105))
    (never,) = see.all(job_object(complete=90), now=at(105)).runs
    assert (never.state, never.result) == ("Succeeded", None)
    # in a worker group, the end of another pod than index 0 isn't enough
    (run,) = see.all(job_object(complete=90, nodes=2), pod_object(index=1, phase="Succeeded", code=0), now=at(91)).runs
    assert run.state == "Running"


def test_failed_job_has_failed(see: See) -> None:
    job = job_object(nodes=2, failed=("BackoffLimitExceeded", "limit"))
    run = see.one(
        job, pod_object(index=0, phase="Failed", code=75, ended=60), pod_object(index=1, phase="Failed", code=1)
    )
    assert (run.state, run.exit_code, run.ended, run.disrupted, run.live) == ("Failed", 1, at(60), False, False)
    # pods of a worker group are not replaced
    assert run.started == at(1)
    assert run.message == "pod nuclei-train-1-1 on node node-a: exit code 1"


def test_worker_group_has_succeeded_where_index_0_ends_well_while_another_pod_fails(see: See) -> None:
    done = pod_object(index=0, phase="Succeeded", code=0, said=DONE, ended=59)
    late = pod_object(index=1, phase="Failed", code=1, ended=60)
    for ending in ("FailureTarget", "Failed"):
        job = job_object(nodes=2, conditions=((ending, "BackoffLimitExceeded", "limit", 60),))
        run = see.one(job, done, late, now=at(61))
        assert (run.state, run.exit_code) == ("Succeeded", 0)
        assert run.result is not None
        assert run.result.checkpoint_step == 100
        # in the reverse order, index 0 has no result
        assert see.one(job, pod_object(index=0, phase="Failed", code=1, ended=59), late, now=at(61)).state == "Failed"


def test_job_about_to_fail_is_stopping(see: See) -> None:
    job = job_object(nodes=2, conditions=(("FailureTarget", "BackoffLimitExceeded", "limit", 60),))
    pods = [pod_object(index=0, deleted=180), pod_object(index=1, phase="Failed", code=1, ended=59)]
    stopping = see.all(job, *pods, now=at(61))
    assert [(run.state, run.message) for run in stopping.runs] == [
        ("Stopping", "pod nuclei-train-1-1 on node node-a: exit code 1")
    ]
    assert stopping.wake_at == at(240)
    # all pods have ended, so there is nothing to wait for
    pods[0] = pod_object(index=0, phase="Failed", code=143, ended=65, deleted=180)
    ended = see.one(job, *pods, now=at(66))
    assert (ended.state, ended.exit_code, ended.ended) == ("Failed", 1, at(65))


def test_failed_job_waits_for_its_pods_for_a_limited_time(see: See) -> None:
    job = job_object(failed=("BackoffLimitExceeded", "limit"))
    unseen = see.all(job, now=at(101))
    assert ([run.state for run in unseen.runs], unseen.wake_at) == (["Stopping"], at(115))
    (run,) = see.all(job, now=at(115)).runs
    assert (run.state, run.exit_code, run.ended) == ("Failed", None, at(100))


def test_pod_replaced_within_the_attempt_by_the_job_of_an_earlier_release(see: See) -> None:
    old = pod_object(name="a", phase="Failed", code=143, ended=300, disrupted=True)
    assert see.one(job_object(), old, now=at(310)).state == "Running"
    made = pod_object(name="b", created=311, phase="Pending")
    assert see.one(job_object(), old, made, now=at(315)).state == "Starting"
    again = see.one(job_object(), old, pod_object(name="b", created=311), now=at(330))
    assert (again.state, again.live, again.ran) == ("Running", True, at(2))


def test_worker_group_has_first_run_when_all_of_its_pods_do(see: See) -> None:
    job = job_object(nodes=2)
    later = pod_object(index=1, created=30)
    assert see.one(job, pod_object(), now=at(60)).ran is None
    assert see.one(job, pod_object(), pod_object(index=1, phase="Pending"), now=at(60)).ran is None
    assert see.one(job, pod_object(), later, now=at(60)).ran == at(2)
    # a terminated trainer has run
    assert see.one(job, pod_object(phase="Failed", code=1), now=at(60)).ran == at(2)
    assert see.one(job_object(suspend=True, start=None), pod_object(phase="Failed", code=143)).ran == at(2)


def test_failing_pod_does_not_make_its_attempt_start_again(see: See) -> None:
    """The kubelet reports the end of a pod before the Job controller reports the end of its Job."""
    failed = pod_object(phase="Failed", code=1)
    assert see.one(job_object(), failed, now=at(60)).state == "Running"
    assert see.one(job_object(nodes=2), *worker_group(phase="Failed", code=1), now=at(60)).state == "Running"
    # also for a worker group that was never complete, and for a pod that has never run
    assert see.one(job_object(nodes=2), failed, now=at(60)).state == "Starting"
    rejected = pod_object(phase="Failed", pod_reason=("UnexpectedAdmissionError", "no GPU"))
    assert see.one(job_object(), rejected, now=at(60)).state == "Starting"


def test_job_being_deleted_is_stopping(see: See) -> None:
    stopping = see.all(job_object(deleted=50), pod_object(deleted=170), now=at(60))
    assert [(run.state, run.deleted) for run in stopping.runs] == [("Stopping", True)]
    assert (stopping.lingering, stopping.wake_at) == ({}, at(230))
    word = json.dumps({"code": 143, "fingerprint": "train-v1", "checkpointStep": 7, "error": {"reason": "Stopped"}})
    ended = see.one(
        job_object(deleted=50), pod_object(phase="Failed", code=143, said=word, ended=70, deleted=170), now=at(71)
    )
    assert (ended.state, ended.exit_code, ended.disrupted, ended.ended) == ("Failed", 143, True, at(70))
    assert ended.result is not None
    assert ended.result.checkpoint_step == 7
    unseen = see.all(job_object(deleted=50), now=at(64))
    assert ([run.state for run in unseen.runs], unseen.wake_at) == (["Stopping"], at(65))
    without = see.one(job_object(deleted=50), now=at(71))
    assert (without.state, without.message, without.disrupted) == ("Failed", "its Job was deleted", True)


def test_a_result_that_came_before_the_deletion_is_kept(see: See) -> None:
    done = pod_object(phase="Succeeded", code=0, said=DONE, ended=49, deleted=170)
    for objects in ([job_object(deleted=50), done], [done], [job_object(complete=49, deleted=50), done]):
        run = see.one(*objects, now=at(60))
        assert (run.state, run.ended, run.deleted) == ("Succeeded", at(49), True)
        assert run.result is not None


def test_complete_job_that_is_deleted_with_its_pods_has_succeeded(see: See) -> None:
    run = see.one(job_object(complete=49, deleted=50), now=at(200))
    assert (run.state, run.ended, run.deleted) == ("Succeeded", at(49), True)


def test_pods_left_by_a_deleted_job_are_a_run(see: See) -> None:
    left = see.all(pod_object(deleted=170), now=at(60))
    assert [(run.step, run.attempt, run.state, run.fingerprint) for run in left.runs] == [
        ("train", 1, "Stopping", "train-v1")
    ]
    assert left.lingering == {}


def test_pods_of_another_uid_linger(see: See) -> None:
    """The experiment was deleted and applied again while its old pods are still ending."""
    old = pod_object(owner=ANOTHER, job="gone", deleted=130)
    seen = see.all(old, now=at(60))
    assert seen.runs == ()
    assert seen.lingering == {"train": "pod nuclei-train-1-0 on node node-a"}
    assert seen.wake_at == at(190)
    # its Job isn't ours either
    theirs = job_object(owner=ANOTHER, uid="gone", deleted=50)
    assert see.all(theirs, old, now=at(60)).runs == ()
    lost = see.all(old, now=at(190))
    assert (lost.lingering, lost.wake_at) == ({}, None)
    assert see.all(pod_object(owner=ANOTHER, job="gone", phase="Failed", code=143)).lingering == {}


def test_pods_with_our_labels_only_linger(see: See) -> None:
    seen = see.all(*(pod_object(job="x", owner="", name=f"stray-{index}", node="") for index in range(5)))
    assert seen.runs == ()
    assert seen.lingering == {"train": "pod stray-0, pod stray-1, pod stray-2 and 2 more"}


def test_job_of_another_owner_is_not_a_run(see: See) -> None:
    stranger = job_object()
    stranger["metadata"]["ownerReferences"] = []
    assert see.all(stranger, pod_object()).runs == ()


def test_a_lost_node_under_a_single_pod(see: See) -> None:
    pod = pod_object(deleted=100, ready=False, disrupted=True)
    waiting = see.all(job_object(), pod, now=at(159))
    assert ([run.state for run in waiting.runs], waiting.wake_at) == (["Running"], at(160))
    lost = see.all(job_object(), pod, now=at(160))
    (run,) = lost.runs
    assert (run.state, run.disrupted, run.ended, lost.wake_at) == ("Failed", True, at(160), None)
    assert "node-a" in run.lost
    assert "node.kubernetes.io/out-of-service" in run.lost
    # and it doesn't delay the next attempt
    assert lost.lingering == {}


def test_a_lost_node_under_a_worker_group(see: See) -> None:
    lost = pod_object(index=1, node="node-b", deleted=100)
    first = see.one(job_object(nodes=2), pod_object(index=0), lost, now=at(160))
    assert (first.state, first.live) == ("Running", True)
    assert "nuclei-train-1-1 did not end on node-b" in first.lost
    failing = job_object(nodes=2, conditions=(("FailureTarget", "BackoffLimitExceeded", "limit", 130),))
    for job in (job_object(nodes=2), failing, job_object(nodes=2, deleted=165)):
        gone = see.one(job, pod_object(index=0, phase="Failed", code=75, ended=170), lost, now=at(171))
        assert (gone.state, gone.exit_code, gone.disrupted) == ("Failed", 75, True)
        assert "node-b" in gone.lost


def test_several_attempts_are_in_order(see: See) -> None:
    older = job_object(attempt=1, failed=("BackoffLimitExceeded", "limit"))
    seen = see.all(
        job_object("train", 2), older, pod_object(attempt=1, phase="Failed", code=1), job_object("convert-val", 1)
    )
    assert [(run.step, run.attempt, run.state) for run in seen.runs] == [
        ("convert-val", 1, "Starting"),
        ("train", 1, "Failed"),
        ("train", 2, "Starting"),
    ]


def test_missing_jobs_of_live_steps_are_named(see: See) -> None:
    steps = (
        StepStatus(name="train", state=StepState.RUNNING, attempt=1, job_name="nuclei-train-1-abcde"),
        StepStatus(name="evaluate", state=StepState.SUCCEEDED, job_name="nuclei-evaluate-1-abcde"),
        StepStatus(name="prune", state=StepState.STARTING, attempt=1, job_name="nuclei-prune-1-abcde"),
    )
    experiment = see.experiment.with_status(see.experiment.status.model_copy(update={"steps": steps}))
    assert missing_jobs(experiment, [job_view(job_object())]) == ("nuclei-prune-1-abcde",)
    assert missing_jobs(experiment, [job_view(job_object(owner=ANOTHER))]) == (
        "nuclei-train-1-abcde",
        "nuclei-prune-1-abcde",
    )


@pytest.mark.parametrize("name", ["..", ".", "../../pods/x", "x?limit=1", "X", "x" * 64, ""])
def test_name_that_is_invalid_for_a_job_is_not_looked_for(see: See, name: str) -> None:
    steps = (StepStatus(name="train", state=StepState.RUNNING, attempt=1, job_name=name),)
    experiment = see.experiment.with_status(see.experiment.status.model_copy(update={"steps": steps}))
    assert missing_jobs(experiment, []) == ()


@pytest.mark.parametrize("forged", [102, 2_147_483_647])
def test_job_or_pod_with_a_forged_attempt_is_no_run(see: See, forged: int) -> None:
    steps = (StepStatus(name="train", state=StepState.RUNNING, attempt=1, job_name="nuclei-train-1-abcde"),)
    see.experiment = see.experiment.with_status(see.experiment.status.model_copy(update={"steps": steps}))
    orphan = pod_object(attempt=forged, name="forged", job="gone")
    seen = see.all(job_object(), pod_object(), job_object(attempt=forged, uid="forged"), orphan)
    assert [(run.step, run.attempt) for run in seen.runs] == [("train", 1)]
    ahead = see.all(job_object(), pod_object(), job_object(attempt=101, uid="ahead"))
    assert [run.attempt for run in ahead.runs] == [1, 101]


def test_a_pod_of_an_older_job_of_an_attempt_makes_no_second_run(see: See) -> None:
    # the Job was deleted by force and created again with the same number
    left = pod_object(job="gone", name="left", phase="Failed", code=1)
    run = see.one(job_object(), pod_object(), left)
    assert (run.step, run.attempt, run.state, run.name) == ("train", 1, "Running", "nuclei-train-1-abcde")


def test_worker_group_does_not_wait_for_running_pods() -> None:
    # the kubelet's reason for a restart remains for a while after the pod is ready
    runs = PodView("1", "a", "lab", phase="Running", ready=True, reason="ImagePullBackOff", message="x: not found")
    waits = PodView("2", "b", "lab", index=1, phase="Pending", reason="Unschedulable", message="0/3 nodes")
    job = job_view(job_object(nodes=2))
    assert waiting_reason(job, [runs, waits], SOON) == ("Unschedulable", "1 of 2 pods: 0/3 nodes")
    assert waiting_reason(job, [runs], SOON) == ("", "")


def test_the_nodes_of_many_lost_pods_are_counted(see: See) -> None:
    pods = [pod_object(index=index, node=f"node-{index}", deleted=20) for index in range(50)]
    run = see.one(job_object(nodes=50), *pods, now=at(100))
    assert "node-0, node-1, node-2 and 47 more: remove the node" in run.lost
    assert len(run.lost) < 300


RUNNING_JOB, ENDED_JOB = job_object(), job_object(complete=5)
RUNNING_POD, ENDED_POD = pod_object(), pod_object(phase="Succeeded", code=0)


@pytest.mark.parametrize(
    ("objects", "ended"),
    [
        ((), True),
        ((ENDED_JOB, ENDED_POD), True),
        ((RUNNING_JOB,), False),
        ((job_object(suspend=True, start=None),), False),
        ((ENDED_JOB, RUNNING_POD), False),
        ((pod_object(deleted=-100),), True),
    ],
    ids=["nothing", "ended", "Job runs", "Job is queued", "pod runs", "pod is lost"],
)
def test_experiment_has_ended_without_a_job_or_a_pod_that_may_run(
    objects: tuple[dict[str, Any], ...], ended: bool
) -> None:
    jobs = [job_view(item) for item in objects if "template" in item["spec"]]
    pods = [pod_view(item) for item in objects if "template" not in item["spec"]]
    assert have_ended(jobs, pods, SOON) is ended
