"""Authorization of a report: each link of the chain, broken once."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.progress_endpoint.authorize import (
    Grant,
    Peer,
    authorize,
    current_grant,
    peer_of,
    speaks_for_a_live_step,
)
from maskrcnn_operator.progress_endpoint.refusal import ReportRefusal
from maskrcnn_operator.progress_endpoint.report import Report

REVIEW: dict[str, Any] = {
    "authenticated": True,
    "audiences": ["maskrcnn-operator"],
    "user": {
        "username": "system:serviceaccount:lab:default",
        "extra": {
            "authentication.kubernetes.io/pod-name": ["nuclei-train-2-abcde-0-x"],
            "authentication.kubernetes.io/pod-uid": ["pod-uid"],
        },
    },
}
EXTRA, POD_UID = REVIEW["user"]["extra"], "authentication.kubernetes.io/pod-uid"
PEER = Peer("lab", "nuclei-train-2-abcde-0-x", "pod-uid")
GRANT = Grant("lab", "nuclei", "experiment-uid", "train", 2, "nuclei-train-2-abcde")
REPORT = Report(experiment_uid="experiment-uid", attempt=2, fingerprint="9f2c-v1", record={})


def decide(cluster: Any, peer: Peer = PEER, report: Report = REPORT) -> Grant | ReportRefusal:
    pod = cluster.pod(peer.pod_uid)
    job = cluster.job(pod.job_uid) if pod else None
    return authorize(peer, report, pod, job, cluster.experiment(job.namespace, job.experiment) if job else None)


def test_a_token_names_its_pod() -> None:
    assert peer_of(REVIEW) == PEER


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"authenticated": False}, 401, "TokenRejected"),
        ({"authenticated": None, "error": "expired"}, 401, "TokenRejected"),
        ({"audiences": ["https://kubernetes.default.svc"]}, 401, "TokenRejected"),
        ({"audiences": None}, 401, "TokenRejected"),
        ({"user": {"username": "system:serviceaccount:lab:default"}}, 403, "NotAPod"),
        ({"user": {**REVIEW["user"], "username": "jane"}}, 403, "NotAPod"),
        ({"authenticated": "yes"}, 401, "TokenRejected"),
        ({"audiences": "maskrcnn-operator"}, 401, "TokenRejected"),
        ({"audiences": 7}, 401, "TokenRejected"),
        ({"user": "system:serviceaccount:lab:default"}, 403, "NotAPod"),
        ({"user": {**REVIEW["user"], "username": ["jane"]}}, 403, "NotAPod"),
        ({"user": {**REVIEW["user"], "extra": [7]}}, 403, "NotAPod"),
        ({"user": {**REVIEW["user"], "extra": EXTRA | {POD_UID: ["pod-uid", 7]}}}, 403, "NotAPod"),
        ({"user": {**REVIEW["user"], "extra": EXTRA | {POD_UID: ["pod-uid", "another"]}}}, 403, "NotAPod"),
        ({"user": {**REVIEW["user"], "extra": EXTRA | {POD_UID: 7}}}, 403, "NotAPod"),
        ({"user": {**REVIEW["user"], "extra": EXTRA | {POD_UID: [7]}}}, 403, "NotAPod"),
    ],
)
def test_token_without_a_pod_is_refused(change: dict[str, Any], status: int, reason: str) -> None:
    found = peer_of(copy.deepcopy(REVIEW) | change)
    assert isinstance(found, ReportRefusal)
    assert (found.status, found.reason) == (status, reason)


def test_empty_review_is_refused() -> None:
    assert isinstance(peer_of({}), ReportRefusal)


def test_running_attempt_may_report(cluster: Any) -> None:
    assert decide(cluster) == GRANT
    assert decide(cluster, report=Report(None, None, None, {})) == GRANT


def test_labels_of_job_and_pod_do_not_affect_the_decision(cluster: Any) -> None:
    cluster.change_pod(experiment="nuclei", step="convert-train", attempt=7)
    cluster.change_job(step="convert-train", attempt=7)
    assert decide(cluster) == GRANT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cluster: cluster.pods.clear(), "UnknownPod"),
        (lambda cluster: cluster.change_pod(name="another"), "UnknownPod"),
        (lambda cluster: cluster.change_pod(namespace="other"), "UnknownPod"),
        (lambda cluster: cluster.jobs.clear(), "UnknownJob"),
        (lambda cluster: cluster.change_pod(job_uid=""), "UnknownJob"),
        (lambda cluster: cluster.change_job(uid="another"), "UnknownJob"),
        (lambda cluster: cluster.change_job(namespace="other"), "UnknownJob"),
        (lambda cluster: cluster.experiments.clear(), "UnknownExperiment"),
        (lambda cluster: cluster.change_job(experiment="another"), "UnknownExperiment"),
        (lambda cluster: cluster.change_job(experiment_uid=""), "UnknownExperiment"),
        (lambda cluster: cluster.change_job(experiment_uid="of another"), "UnknownExperiment"),
        (lambda cluster: cluster.change_step(attempt=3, job_name="nuclei-train-3-abcde"), "NotCurrent"),
        (lambda cluster: cluster.change_status(steps=()), "NotCurrent"),
        (lambda cluster: cluster.change_step(state=StepState.SUCCEEDED), "NotRunning"),
        (lambda cluster: cluster.change_step(state=StepState.PENDING), "NotRunning"),
    ],
)
def test_each_broken_link_is_refused(cluster: Any, change: Any, reason: str) -> None:
    change(cluster)
    found = decide(cluster)
    assert isinstance(found, ReportRefusal)
    assert (found.status, found.reason) == (403, reason)
    assert found.message


@pytest.mark.parametrize("state", [StepState.QUEUED, StepState.STARTING, StepState.RUNNING, StepState.STOPPING])
def test_step_may_report_while_its_attempt_exists(cluster: Any, state: StepState) -> None:
    cluster.change_step(state=state)
    assert decide(cluster) == GRANT


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (Report("another", 2, "9f2c-v1", {}), "experimentUid"),
        (Report("experiment-uid", 1, "9f2c-v1", {}), "attempt"),
        (Report("experiment-uid", 2, "0000-v1", {}), "fingerprint"),
    ],
)
def test_a_report_that_contradicts_its_pod(cluster: Any, report: Report, field: str) -> None:
    found = decide(cluster, report=report)
    assert isinstance(found, ReportRefusal)
    assert (found.status, found.reason) == (403, "NotYours")
    assert found.message.startswith(f"{field}: the report has ")


def test_an_image_of_an_older_release_names_the_fingerprint_that_it_knows(cluster: Any) -> None:
    cluster.change_job(older_fingerprints=("0000-v1",))
    assert decide(cluster, report=Report("experiment-uid", 2, "0000-v1", {})) == GRANT
    assert decide(cluster) == GRANT
    found = decide(cluster, report=Report("experiment-uid", 2, "1111-v1", {}))
    assert isinstance(found, ReportRefusal)


def test_only_the_current_step_is_written(cluster: Any) -> None:
    assert current_grant(cluster.nuclei) == GRANT
    cluster.change_step(attempt=3, job_name="nuclei-train-3-abcde")
    assert current_grant(cluster.nuclei) == replace(GRANT, attempt=3, job_name="nuclei-train-3-abcde")


@pytest.mark.parametrize("current", [None, "convert-train", "gone"])
def test_no_attempt_is_current_unless_the_current_step_is_live(cluster: Any, current: str | None) -> None:
    cluster.change_status(current_step=current)
    assert current_grant(cluster.nuclei) is None


def test_attempt_speaks_for_its_step_although_another_one_is_current(cluster: Any) -> None:
    cluster.change_status(current_step="retrain")
    assert speaks_for_a_live_step(GRANT, cluster.nuclei)


def test_attempt_before_the_newest_does_not_speak_for_its_step(cluster: Any) -> None:
    cluster.change_step(attempt=3, job_name="nuclei-train-3-abcde")
    assert not speaks_for_a_live_step(GRANT, cluster.nuclei)


def test_step_that_has_ended_is_not_written(cluster: Any) -> None:
    cluster.change_step(state=StepState.SUCCEEDED)
    assert not speaks_for_a_live_step(GRANT, cluster.nuclei)
    assert current_grant(cluster.nuclei) is None


def test_another_experiment_of_the_same_name_is_not_written(cluster: Any) -> None:
    metadata = cluster.nuclei.metadata.model_copy(update={"uid": "of another"})
    assert not speaks_for_a_live_step(GRANT, cluster.nuclei.model_copy(update={"metadata": metadata}))


def test_experiment_of_another_namespace_is_refused(cluster: Any) -> None:
    metadata = cluster.nuclei.metadata.model_copy(update={"namespace": "other"})
    experiment = cluster.nuclei.model_copy(update={"metadata": metadata})
    found = authorize(PEER, REPORT, cluster.pod("pod-uid"), cluster.job("job-uid"), experiment)
    assert isinstance(found, ReportRefusal)
    assert found.reason == "UnknownExperiment"
