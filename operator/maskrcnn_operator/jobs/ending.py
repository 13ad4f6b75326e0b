"""What became of an attempt, from its pods: whose error counts, what index 0 said, whether it was disrupted."""

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
    """How an attempt failed.

    Attributes:
        exit_code: of the pod whose error counts; None where it has none.
        result: as index 0 reported it, without exit code and error where they are not those of the pod whose error
            counts.
        message: the pod whose error counts, its node and what it said.
        disrupted: something outside ended the attempt, so it does not count.
    """

    exit_code: int | None
    result: TaskResult | None
    message: str
    disrupted: bool

    @property
    def by_itself(self) -> bool:
        """Whether no stop from outside explains the exit code: not SIGTERM, nor peers that were stopped first."""
        return self.exit_code not in (None, EXIT_STOPPED, EXIT_TRY_AGAIN)


def earliest_first(pods: Sequence[PodView]) -> list[PodView]:
    """The failed pods in the order in which they ended; in the same second a stopped one is the later one."""
    failed = [pod for pod in pods if pod.failed]
    return sorted(failed, key=lambda pod: (pod.finished_at or _LAST, pod.exit_code == EXIT_STOPPED, pod.index))


def pod_whose_error_counts(pods: Sequence[PodView]) -> PodView | None:
    """The first of: exit code 64, out of memory, the earliest-finished pod that is not 75, 75. None where none failed.

    A pod that ended with 143 after another had failed was stopped for that, and says nothing.
    """
    failed = earliest_first(pods)
    by_precedence = (
        [pod for pod in failed if pod.exit_code == EXIT_INVALID],
        [pod for pod in failed if pod.ran_out_of_memory],
        [pod for pod in failed if pod.exit_code not in (EXIT_TRY_AGAIN, EXIT_STOPPED) or _stopped_first(pod, failed)],
        [pod for pod in failed if pod.exit_code == EXIT_TRY_AGAIN],
    )
    return next((found[0] for found in by_precedence if found), None)


def _stopped_first(pod: PodView, failed: Sequence[PodView]) -> bool:
    return pod.exit_code == EXIT_STOPPED and pod is failed[0]


def was_disrupted(job: JobView | None, pods: Sequence[PodView]) -> bool:
    """Whether a pod was seen with DisruptionTarget, the Job failed by that rule, or the first to end ended with 143."""
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
    """What index 0 said when it ended; of several pods of it, the succeeded one, else the newest that speaks."""
    first = [pod for pod in oldest_first(pods) if pod.index == 0 and pod.ended]
    said = (parse_result(pod.termination_message) for pod in reversed(first))
    return next((result for result in said if result is not None), None)


def succeeded_all_the_same(pods: Sequence[PodView]) -> bool:
    """Whether index 0 has said that the step is done, whatever became of its Job."""
    result = reported_result([pod for pod in pods if pod.succeeded])
    return result is not None and result.exit_code == EXIT_OK


def ending(job: JobView | None, pods: Sequence[PodView]) -> Ending:
    """How an attempt failed whose pods have all ended, or are lost.

    Pods of an earlier start of its Job say nothing but which checkpoint there is.
    """
    newest, result = pods_of_newest_start(job, pods), reported_result(pods)
    pod, disrupted = pod_whose_error_counts(newest), was_disrupted(job, newest)
    exit_code = pod.exit_code if pod else None
    if result and (pod is None or pod.index != 0 or parse_result(pod.termination_message) is None):
        result = replace(result, exit_code=exit_code, reason="", message="")
    return Ending(exit_code, result, _described(pod) if pod else _condition_message(job), disrupted)


def _condition_message(job: JobView | None) -> str:
    failed = (job.condition("Failed") or job.condition("FailureTarget")) if job else None
    return f"{failed.reason}: {failed.message}" if failed else ""


def _described(pod: PodView) -> str:
    """Return which pod it is, how it ended, and what it left to say of it."""
    where = f"pod {pod.name} on node {pod.node}" if pod.node else f"pod {pod.name}"
    if pod.ran_out_of_memory:
        how = "ran out of memory (OOMKilled)"
    elif pod.container_exit_code is not None:
        how = f"exit code {pod.container_exit_code}"
    else:
        how = "exit code unknown" if pod.has_run else "did not run"
    if pod.reason and pod.reason not in ("Error", "Completed", OOM_KILLED):
        how = f"{how} ({pod.reason})"
    message = pod.message or _last_line(pod.termination_message)
    return f"{where}: {how}: {message}" if message else f"{where}: {how}"


def _last_line(text: str) -> str:
    """The end of a log, which the kubelet gives where a container that failed has left no message."""
    if parse_result(text) is not None:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-LOG_LENGTH:] if lines else ""
