"""End of an attempt: the error that counts, the result of index 0, and disruption."""

from __future__ import annotations

import json
from typing import Any

import pytest

from maskrcnn_operator.core.result import RESULT_NAME_LENGTH, TaskResult
from maskrcnn_operator.jobs.ending import (
    LOG_LENGTH,
    ending,
    pod_whose_error_counts,
    reported_result,
    succeeded_all_the_same,
)
from maskrcnn_operator.jobs.parse import job_view, pod_view

from .conftest import job_object, pod_object


def said(code: int, **fields: Any) -> str:
    return json.dumps({"version": 1, "task": "train", "code": code, "fingerprint": "train-v1", "attempt": 1, **fields})


def pods(*ends: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(
        pod_view(pod_object(index=index, **({"phase": "Failed"} | fields))) for index, fields in enumerate(ends)
    )


@pytest.mark.parametrize(
    ("ends", "index", "code", "disrupted"),
    [
        ([{"code": 75, "ended": 50}, {"code": 64, "ended": 60}, {"code": 1, "ended": 40}], 1, 64, False),
        ([{"code": 1, "ended": 40}, {"code": 137, "ended": 60, "container_reason": "OOMKilled"}], 1, 137, False),
        ([{"code": 75, "ended": 50}, {"code": 2, "ended": 60}, {"code": 1, "ended": 70}], 1, 2, False),
        ([{"code": 75, "ended": 50}, {"code": 75, "ended": 40}], 1, 75, False),
        # the other pods are deleted after the first failure
        ([{"code": 143, "ended": 60}, {"code": 1, "ended": 50}], 1, 1, False),
        ([{"code": 143, "ended": 60}, {"code": 75, "ended": 50}], 1, 75, False),
        ([{"code": 143, "ended": 60}, {"code": 75, "ended": 50}, {"code": 1, "ended": 70}], 2, 1, False),
        ([{"code": 143, "ended": 50}, {"code": 1, "ended": 50}], 1, 1, False),
        # a drain: the first pod was stopped, the others lost a peer
        ([{"code": 75, "ended": 60}, {"code": 143, "ended": 50}], 1, 143, True),
        ([{"code": 75, "ended": 50}, {"code": 75, "ended": 60, "disrupted": True}], 0, 75, True),
        # the pod was stopped and had to be killed
        ([{"code": 137, "ended": 50, "deleted": 50}], 0, 143, True),
        ([{"code": 137, "ended": 50}], 0, 137, False),
        ([{"code": 137, "ended": 50, "deleted": 50, "container_reason": "OOMKilled"}], 0, 137, False),
        # the kernel killed a child of the task: the exit code is 137, whatever the container's is
        ([{"code": 64, "ended": 40, "container_reason": "OOMKilled"}, {"code": 64, "ended": 60}], 1, 64, False),
        # none of its containers ran
        ([{"pod_reason": ("UnexpectedAdmissionError", "no GPU")}], 0, None, False),
        ([{"code": 1, "ended": 90}, {"pod_reason": ("Evicted", "low on memory")}], 0, 1, False),
    ],
)
def test_error_that_counts(ends: list[dict[str, Any]], index: int, code: int | None, disrupted: bool) -> None:
    found = pods(*ends)
    counted = pod_whose_error_counts(found)
    assert counted is not None
    assert counted.index == index
    how = ending(None, found)
    assert (how.exit_code, how.disrupted) == (code, disrupted)


@pytest.mark.parametrize("condition", ["FailureTarget", "Failed"])
def test_job_failed_by_the_disruption_rule_is_disrupted(condition: str) -> None:
    message = "Pod lab/nuclei-train-1-1 has condition DisruptionTarget matching FailJob rule at index 0"
    job = job_view(job_object(conditions=((condition, "PodFailurePolicy", message, 100),)))
    assert ending(job, pods({"code": 75})).disrupted
    message = "Container trainer for pod lab/x failed with exit code 64 matching FailJob rule at index 1"
    other = job_view(job_object(failed=("PodFailurePolicy", message)))
    assert not ending(other, pods({"code": 64})).disrupted


def test_error_of_index_0_is_reported_unchanged() -> None:
    error = {"reason": "InvalidData", "message": "train.json: no images"}
    how = ending(None, pods({"code": 64, "said": said(64, error=error)}, {"code": 75}))
    assert how.result is not None
    assert (how.result.reason, how.result.message) == ("InvalidData", "train.json: no images")


def test_error_of_another_pod_is_reported_with_pod_and_node() -> None:
    """Index 0 only reports that it lost a peer, but it knows the checkpoint."""
    lost = said(75, checkpointStep=500, error={"reason": "LostPeer", "message": "rank 1 does not answer"})
    log = "Traceback\n  somewhere\nValueError: broken"
    how = ending(None, pods({"code": 75, "said": lost, "ended": 60}, {"code": 1, "said": log, "ended": 50}))
    assert how.exit_code == 1
    assert how.message == "pod nuclei-train-1-1 on node node-a: exit code 1: ValueError: broken"
    assert how.result is not None
    assert (how.result.checkpoint_step, how.result.reason, how.result.message) == (500, "", "")


def test_message_of_another_pod_does_not_replace_result_of_index_0() -> None:
    other = said(1, checkpointStep=900, error={"reason": "Broken", "message": "by hand"})
    how = ending(
        None, pods({"code": 75, "said": said(75, checkpointStep=500), "ended": 60}, {"code": 1, "said": other})
    )
    assert how.result is not None
    assert (how.result.exit_code, how.result.checkpoint_step) == (1, 500)


MISSING_BUCKET = {"reason": "BucketNotFound", "message": "s3://lab/results: the bucket doesn't exist"}


def test_reason_and_message_of_another_pod_are_reported() -> None:
    how = ending(None, pods({"phase": "Running"}, {"code": 64, "said": said(64, error=MISSING_BUCKET)}))
    assert how.result is not None
    assert (how.result.exit_code, how.result.reason) == (64, "BucketNotFound")
    assert how.message == (
        "pod nuclei-train-1-1 on node node-a: exit code 64: s3://lab/results: the bucket doesn't exist"
    )


def test_pod_stopped_because_of_another_one_does_not_hide_its_reason() -> None:
    stopped = said(143, checkpointStep=500, error={"reason": "Stopped", "message": "stopped by SIGTERM"})
    how = ending(
        None,
        pods(
            {"code": 143, "said": stopped, "ended": 60},
            {"code": 75, "said": said(75, error={"reason": "StoreUnavailable", "message": "HTTP 503"}), "ended": 50},
        ),
    )
    assert how.result is not None
    assert (how.exit_code, how.result.reason, how.result.checkpoint_step) == (75, "StoreUnavailable", 500)
    assert not how.disrupted


def test_only_the_error_of_another_pod_is_used() -> None:
    more = {"metrics": {"AP": 0.5}, "artifacts": {"model": {"path": "/workspace/m", "bytes": 1}}, "modelPath": "/m"}
    how = ending(
        None, pods({"code": 75}, {"code": 64, "said": said(64, error=MISSING_BUCKET, checkpointStep=9, **more)})
    )
    assert how.result is not None
    assert how.result == TaskResult(64, reason="BucketNotFound")


@pytest.mark.parametrize(("own", "other", "shown"), [(None, 7, 7), (5, None, 5), (5, 7, 7)])
def test_later_attempt_is_that_of_either_pod(own: int | None, other: int | None, shown: int) -> None:
    def superseded(later: int | None) -> str:
        return said(75, error={"reason": "Superseded", "message": "a later attempt has it", "laterAttempt": later})

    how = ending(
        None,
        pods({"code": 75, "said": superseded(own), "ended": 60}, {"code": 75, "said": superseded(other), "ended": 50}),
    )
    assert how.result is not None
    assert how.result.later_attempt == shown


def test_reason_of_another_pod_is_bounded() -> None:
    error = {"reason": "R" * 900, "message": "m", "laterAttempt": 10**9}
    how = ending(None, pods({"code": 75}, {"code": 64, "said": said(64, error=error)}))
    assert how.result is not None
    assert (len(how.result.reason), how.result.later_attempt) == (RESULT_NAME_LENGTH, None)


@pytest.mark.parametrize(
    "message", ['{"code": 64', '{"code": 64, "error": "no"}', '{"code": 640}', "[]", "\x00" * 5000]
)
def test_unreadable_message_of_another_pod_has_no_reason(message: str) -> None:
    how = ending(None, pods({"code": 75, "said": said(75)}, {"code": 64, "said": message}))
    assert how.result is not None
    assert (how.exit_code, how.result.reason) == (64, "")


def test_error_without_a_message_gives_way_to_one_of_the_same_code() -> None:
    how = ending(
        None, pods({"code": 64, "said": said(64, error=MISSING_BUCKET), "ended": 60}, {"code": 64, "ended": 50})
    )
    assert how.result is not None
    assert (how.exit_code, how.result.reason, how.result.message) == (64, *MISSING_BUCKET.values())


def test_error_without_a_message_counts_before_one_of_another_code() -> None:
    reported = said(1, error={"reason": "Failed", "message": "ncclUnhandledCudaError"})
    how = ending(None, pods({"code": 1, "said": reported, "ended": 60}, {"code": 2, "ended": 50}))
    assert how.exit_code == 2


def test_error_with_a_line_of_a_log_counts_before_a_later_one() -> None:
    """The later one may be its consequence, even with the same code."""
    reported = said(1, error={"reason": "Failed", "message": "ncclUnhandledCudaError"})
    how = ending(None, pods({"code": 1, "said": reported, "ended": 60}, {"code": 1, "said": "ValueError", "ended": 50}))
    assert how.message == "pod nuclei-train-1-1 on node node-a: exit code 1: ValueError"


def test_last_line_of_a_log_is_cut_at_its_start() -> None:
    how = ending(None, pods({"code": 1, "said": "first\n" + "x" * LOG_LENGTH + " at the end\n"}))
    assert how.message == "pod nuclei-train-1-0 on node node-a: exit code 1: " + "x" * (LOG_LENGTH - 11) + " at the end"


def test_eviction_by_the_kubelet_is_reported() -> None:
    how = ending(None, pods({"pod_reason": ("Evicted", "The node was low on memory"), "disrupted": True}))
    assert how.message == ("pod nuclei-train-1-0 on node node-a: did not run (Evicted): The node was low on memory")
    how = ending(None, pods({"code": 137, "container_reason": "OOMKilled"}))
    assert how.message == "pod nuclei-train-1-0 on node node-a: ran out of memory (OOMKilled)"


def test_without_pods_the_message_of_the_job_is_used() -> None:
    how = ending(job_view(job_object(failed=("BackoffLimitExceeded", "limit reached"))), ())
    assert (how.exit_code, how.message) == (None, "BackoffLimitExceeded: limit reached")


def test_termination_message_of_a_replaced_pod_is_kept() -> None:
    stopped = pod_view(pod_object(name="a", phase="Failed", code=143, said=said(143, checkpointStep=5), ended=40))
    done = pod_view(pod_object(name="b", phase="Succeeded", code=0, said=said(0, checkpointStep=9), ended=80))
    mute = pod_view(pod_object(name="c", phase="Failed", code=1, said="Killed", ended=60))
    first, second = reported_result((stopped, done)), reported_result((stopped, mute))
    assert first is not None
    assert second is not None
    assert (first.checkpoint_step, second.checkpoint_step) == (9, 5)
    assert succeeded_all_the_same((stopped, done))
    assert not succeeded_all_the_same((stopped, mute))
    assert reported_result((mute,)) is None


def test_failed_pod_with_a_successful_result_has_not_succeeded() -> None:
    """The message of a failed pod may be the end of its log."""
    assert not succeeded_all_the_same(pods({"code": 1, "said": said(0)}))


def test_code_of_a_pod_that_never_ran_is_not_0() -> None:
    """Index 0 reported a result, but the failure is of an index whose container never ran."""
    lost = said(75, checkpointStep=500, error={"reason": "LostPeer", "message": "rank 1 does not answer"})
    rejected = {"pod_reason": ("UnexpectedAdmissionError", "no GPU")}
    how = ending(None, pods({"code": 75, "said": lost, "ended": 60}, rejected))
    assert how.exit_code is None
    assert how.result is not None
    assert (how.result.exit_code, how.result.checkpoint_step) == (None, 500)


def test_pod_lost_with_its_node_counts_as_having_run() -> None:
    pod = pod_object(disrupted=True)
    pod["status"]["phase"] = "Failed"
    assert ending(None, (pod_view(pod),)).message == "pod nuclei-train-1-0 on node node-a: exit code unknown"
