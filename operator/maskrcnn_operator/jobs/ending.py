"""What became of an attempt, from its pods: whose error counts, what index 0 said, whether it was disrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from maskrcnn_operator.core.result import TaskResult, parse_result
from maskrcnn_operator.jobs.newest import oldest_first, pods_of_newest_start
from maskrcnn_operator.jobs.views import OOM_KILLED, JobView, PodView
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_KILLED, EXIT_OK, EXIT_STOPPED, EXIT_TRY_AGAIN

LOG_LENGTH = 500
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Ending:
    """How an attempt failed.

    Attributes:
        code: exit code of the pod whose error counts; None where it has none.
        result: index 0's last word, without code and error where they are not those of the pod whose error counts.
        message: the pod whose error counts, its node and what it said.
        disrupted: something outside ended the attempt, so it does not count.
    """

    code: int | None
    result: TaskResult | None
    message: str
    disrupted: bool

    @property
    def by_itself(self) -> bool:
        """Whether no stop from outside explains the code: not SIGTERM, nor peers that were stopped first."""
        return self.code not in (None, EXIT_STOPPED, EXIT_TRY_AGAIN)


def exit_code(pod: PodView) -> int | None:
    """The pod's exit code: 137 for whatever ran out of memory, 143 where SIGTERM had to be followed by SIGKILL."""
    if pod.reason == OOM_KILLED:
        return EXIT_KILLED
    if pod.exit_code == EXIT_KILLED and pod.deletion_timestamp is not None:
        return EXIT_STOPPED
    return pod.exit_code


def earliest_first(pods: Sequence[PodView]) -> list[PodView]:
    """The failed pods in the order in which they ended; in the same second a stopped one is the later one."""
    failed = [pod for pod in pods if pod.failed]
    return sorted(failed, key=lambda pod: (pod.finished_at or _LAST, exit_code(pod) == EXIT_STOPPED, pod.index))


def pod_whose_error_counts(pods: Sequence[PodView]) -> PodView | None:
    """The first of: exit code 64, out of memory, the earliest-finished pod that is not 75, 75. None where none failed.

    A pod that ended with 143 after another had failed was stopped for that, and says nothing.
    """
    failed = earliest_first(pods)
    for sought in (
        lambda pod: pod.exit_code == EXIT_INVALID,
        lambda pod: pod.reason == OOM_KILLED,
        lambda pod: exit_code(pod) != EXIT_TRY_AGAIN and (exit_code(pod) != EXIT_STOPPED or pod is failed[0]),
        lambda pod: exit_code(pod) == EXIT_TRY_AGAIN,
    ):
        found = next(filter(sought, failed), None)
        if found is not None:
            return found
    return None


def was_disrupted(job: JobView | None, pods: Sequence[PodView]) -> bool:
    """Whether a pod was seen with DisruptionTarget, the Job failed by that rule, or the first to end ended with 143."""
    failed = earliest_first(pods)
    return (
        any(pod.disrupted for pod in pods)
        or _failed_by_disruption(job)
        or (bool(failed) and exit_code(failed[0]) == EXIT_STOPPED)
    )


def _failed_by_disruption(job: JobView | None) -> bool:
    conditions = job.conditions if job else ()
    return any(
        condition.type in ("Failed", "FailureTarget")
        and condition.reason == "PodFailurePolicy"
        and "DisruptionTarget" in condition.message
        for condition in conditions
    )


def last_word(pods: Sequence[PodView]) -> TaskResult | None:
    """What index 0 said when it ended; of several pods of it, the succeeded one, else the newest that speaks."""
    first = [pod for pod in oldest_first(pods) if pod.index == 0 and pod.ended]
    said = (parse_result(pod.termination_message) for pod in reversed(first))
    return next((result for result in said if result is not None), None)


def succeeded_all_the_same(pods: Sequence[PodView]) -> bool:
    """Whether index 0 has said that the step is done, whatever became of its Job."""
    result = last_word([pod for pod in pods if pod.succeeded])
    return result is not None and result.code == EXIT_OK


def ending(job: JobView | None, pods: Sequence[PodView]) -> Ending:
    """How an attempt failed whose pods have all ended, or are lost.

    Pods of an earlier start of its Job say nothing but which checkpoint there is.
    """
    newest, result = pods_of_newest_start(job, pods), last_word(pods)
    pod, disrupted = pod_whose_error_counts(newest), was_disrupted(job, newest)
    code = exit_code(pod) if pod else None
    if result and (pod is None or pod.index != 0 or parse_result(pod.termination_message) is None):
        result = replace(result, code=code, reason="", message="")
    return Ending(code, result, _told(pod, code) if pod else _condition_message(job), disrupted)


def _condition_message(job: JobView | None) -> str:
    failed = (job.condition("Failed") or job.condition("FailureTarget")) if job else None
    return f"{failed.reason}: {failed.message}" if failed else ""


def _told(pod: PodView, code: int | None) -> str:
    where = f"pod {pod.name} on node {pod.node}" if pod.node else f"pod {pod.name}"
    if pod.exit_code is not None:
        what = f"exit code {pod.exit_code}"
    else:
        what = "exit code unknown" if pod.has_run else "did not run"
    if code == EXIT_KILLED and pod.reason == OOM_KILLED:
        what = "ran out of memory (OOMKilled)"
    elif pod.reason and pod.reason not in ("Error", "Completed"):
        what = f"{what} ({pod.reason})"
    said = pod.message or _last_line(pod.termination_message)
    return f"{where}: {what}: {said}" if said else f"{where}: {what}"


def _last_line(text: str) -> str:
    """The end of a log, which the kubelet gives where a container that failed has left no message."""
    if parse_result(text) is not None:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-LOG_LENGTH:] if lines else ""
