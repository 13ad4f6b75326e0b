"""End of an attempt, computed from its pods: the error that counts, the result of index 0, and disruption.

Every node of a worker group may leave a termination message. The error is that of the node whose exit code counts;
checkpoint, metrics, and artifacts are those of index 0 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from maskrcnn_operator.core.result import TaskResult, parse_result
from maskrcnn_operator.jobs.newest import oldest_first, pods_of_newest_start
from maskrcnn_operator.jobs.views import OOM_KILLED, JobView, PodView
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_OK, EXIT_STOPPED, EXIT_TRY_AGAIN

LOG_LENGTH = 500
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Ending:
    """End of a failed attempt.

    Attributes:
        exit_code: of the pod whose error counts; None if it has none.
        result: as index 0 reported it, with the exit code and the reason of the pod whose error counts. The error's
            message is only there if that pod is index 0.
        message: the pod whose error counts, its node, and, unless it is index 0, its error.
        disrupted: the attempt was ended from outside, so it does not count as a failure of the task.
    """

    exit_code: int | None
    result: TaskResult | None
    message: str
    disrupted: bool

    @property
    def by_itself(self) -> bool:
        """True if the exit code isn't explained by a stop from outside: by SIGTERM, or by peers that were stopped."""
        return self.exit_code not in (None, EXIT_STOPPED, EXIT_TRY_AGAIN)


def earliest_first(pods: Sequence[PodView]) -> list[PodView]:
    """Return the failed pods in the order in which they ended; within one second, stopped pods come last."""
    failed = [pod for pod in pods if pod.failed]
    return sorted(failed, key=lambda pod: (pod.finished_at or _LAST, pod.exit_code == EXIT_STOPPED, pod.index))


def pod_whose_error_counts(pods: Sequence[PodView]) -> PodView | None:
    """Return the failed pod whose error is that of the attempt; None if no pod failed.

    The order of precedence is: exit code 64, out of memory, the first pod to end with a code other than 75, code 75.
    A pod that ended with 143 after another one had failed was stopped because of it, and does not count. If the first
    pod left nothing about its error, one with the same exit code and a termination message counts instead.
    """
    failed = earliest_first(pods)
    by_precedence = (
        [pod for pod in failed if pod.exit_code == EXIT_INVALID],
        [pod for pod in failed if pod.ran_out_of_memory],
        [pod for pod in failed if pod.exit_code not in (EXIT_TRY_AGAIN, EXIT_STOPPED) or _stopped_first(pod, failed)],
        [pod for pod in failed if pod.exit_code == EXIT_TRY_AGAIN],
    )
    found = next((found for found in by_precedence if found), None)
    if found is None:
        return None
    first = found[0]
    reporting = (pod for pod in found if pod.exit_code == first.exit_code and parse_result(pod.termination_message))
    return first if _leaves_a_trace(first) else next(reporting, first)


def _leaves_a_trace(pod: PodView) -> bool:
    return pod.ran_out_of_memory or bool(pod.message or pod.termination_message.strip() or _unusual_reason(pod))


def _stopped_first(pod: PodView, failed: Sequence[PodView]) -> bool:
    return pod.exit_code == EXIT_STOPPED and pod is failed[0]


def was_disrupted(job: JobView | None, pods: Sequence[PodView]) -> bool:
    """Return whether an attempt was disrupted.

    It was if a pod had the condition DisruptionTarget, if the Job failed by the rule for it, or if the first pod to end
    ended with 143.
    """
    failed = earliest_first(pods)
    return (
        any(pod.disrupted for pod in pods)
        or _failed_by_disruption(job)
        or (bool(failed) and failed[0].exit_code == EXIT_STOPPED)
    )


def _failed_by_disruption(job: JobView | None) -> bool:
    conditions = job.conditions if job else ()
    return any(
        condition.type in ("Failed", "FailureTarget")
        and condition.reason == "PodFailurePolicy"
        and "DisruptionTarget" in condition.message
        for condition in conditions
    )


def reported_result(pods: Sequence[PodView]) -> TaskResult | None:
    """Return the result that index 0 reported; None if it reported none.

    If index 0 had several pods, it is that of the succeeded one, else that of the newest one with a result.
    """
    first = [pod for pod in oldest_first(pods) if pod.index == 0 and pod.ended]
    results = (parse_result(pod.termination_message) for pod in reversed(first))
    return next((result for result in results if result is not None), None)


def succeeded_all_the_same(pods: Sequence[PodView]) -> bool:
    """Return whether index 0 reported that the step is done, even if its Job failed or was deleted."""
    result = reported_result([pod for pod in pods if pod.succeeded])
    return result is not None and result.exit_code == EXIT_OK


def ending(job: JobView | None, pods: Sequence[PodView]) -> Ending:
    """Return the end of a failed attempt whose pods have all ended or are lost.

    From pods of an earlier start of its Job, only the reported checkpoint is used.
    """
    newest, result = pods_of_newest_start(job, pods), reported_result(pods)
    pod, disrupted = pod_whose_error_counts(newest), was_disrupted(job, newest)
    exit_code = pod.exit_code if pod else None
    error = parse_result(pod.termination_message) if pod else None
    if error is None or pod is None or pod.index != 0:
        result = _with_error_of_another_pod(result, exit_code, error)
    return Ending(exit_code, result, _described(pod) if pod else _condition_message(job), disrupted)


def _with_error_of_another_pod(
    result: TaskResult | None, exit_code: int | None, error: TaskResult | None
) -> TaskResult | None:
    """Return what index 0 reported with the reason of another pod, whose error counts; None if neither reported."""
    if result is None and error is None:
        return None
    known = result or TaskResult(exit_code)
    if error is None:
        return replace(known, exit_code=exit_code, reason="", message="")
    later = known.later_attempt if error.later_attempt is None else error.later_attempt
    return replace(known, exit_code=exit_code, reason=error.reason, message="", later_attempt=later)


def _condition_message(job: JobView | None) -> str:
    failed = (job.condition("Failed") or job.condition("FailureTarget")) if job else None
    return f"{failed.reason}: {failed.message}" if failed else ""


def _described(pod: PodView) -> str:
    """Return a pod's name and node, how it ended, and its error message."""
    where = f"pod {pod.name} on node {pod.node}" if pod.node else f"pod {pod.name}"
    if pod.ran_out_of_memory:
        how = "ran out of memory (OOMKilled)"
    elif pod.container_exit_code is not None:
        how = f"exit code {pod.container_exit_code}"
    else:
        how = "exit code unknown" if pod.has_run else "did not run"
    if reason := _unusual_reason(pod):
        how = f"{how} ({reason})"
    message = pod.message or _reported_message(pod)
    return f"{where}: {how}: {message}" if message else f"{where}: {how}"


def _unusual_reason(pod: PodView) -> str:
    return "" if pod.reason in ("Error", "Completed", OOM_KILLED) else pod.reason


def _reported_message(pod: PodView) -> str:
    """Return the message in a termination message, or the last line of the log that the kubelet stores without one.

    It is empty for the termination message of index 0, which :attr:`Ending.result` has.
    """
    result = parse_result(pod.termination_message)
    if result is not None:
        return "" if pod.index == 0 else result.message
    lines = [line.strip() for line in pod.termination_message.splitlines() if line.strip()]
    return lines[-1][-LOG_LENGTH:] if lines else ""
