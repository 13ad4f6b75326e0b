"""What became of an attempt, from its pods: whose error counts, what index 0 said, whether it was disrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from maskrcnn_operator.core.result import TaskResult, parse_result
from maskrcnn_operator.jobs.views import JobView, PodView
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_KILLED, EXIT_OK, EXIT_STOPPED, EXIT_TRY_AGAIN

OOM_KILLED = "OOMKilled"
LOG_LENGTH = 500
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Ending:
    """How an attempt failed.

    Attributes:
        code: exit code of the pod whose error counts; None where no container of it ever ran.
        result: index 0's last word, its error replaced where another pod's counts.
        message: the pod whose error counts, its node and what it said.
        disrupted: something outside ended the attempt, so it does not count.
    """

    code: int | None
    result: TaskResult | None
    message: str
    disrupted: bool


def exit_code(pod: PodView) -> int | None:
    """The pod's exit code: 137 for whatever ran out of memory, 143 where SIGTERM had to be followed by SIGKILL."""
    if pod.reason == OOM_KILLED:
        return EXIT_KILLED
    if pod.exit_code == EXIT_KILLED and pod.deletion_timestamp is not None:
        return EXIT_STOPPED
    return pod.exit_code


def earliest_first(pods: Sequence[PodView]) -> list[PodView]:
    """The failed pods in the order in which they ended; in the same second a stopped one is the later one."""
    failed = [pod for pod in pods if pod.phase == "Failed"]
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
    first = sorted(
        (pod for pod in pods if pod.index == 0 and pod.terminal),
        key=lambda pod: (pod.phase == "Succeeded", pod.finished_at or _LAST),
        reverse=True,
    )
    return next((result for pod in first if (result := parse_result(pod.termination_message)) is not None), None)


def succeeded_all_the_same(pods: Sequence[PodView]) -> bool:
    """Whether index 0 has said that the step is done, whatever became of its Job."""
    result = last_word([pod for pod in pods if pod.phase == "Succeeded"])
    return result is not None and result.code == EXIT_OK


def ending(job: JobView | None, pods: Sequence[PodView]) -> Ending:
    """How an attempt failed whose pods have all ended, or are lost."""
    pod, result = pod_whose_error_counts(pods), last_word(pods)
    disrupted = was_disrupted(job, pods)
    if pod is None:
        return Ending(None, result, _condition_message(job), disrupted)
    code = exit_code(pod)
    if pod.index != 0 or parse_result(pod.termination_message) is None:
        result = replace(result, code=code or 0, reason="", message="") if result else None
    return Ending(code, result, _told(pod, code), disrupted)


def _condition_message(job: JobView | None) -> str:
    failed = (job.condition("Failed") or job.condition("FailureTarget")) if job else None
    return f"{failed.reason}: {failed.message}" if failed else ""


def _told(pod: PodView, code: int | None) -> str:
    where = f"pod {pod.name} on node {pod.node}" if pod.node else f"pod {pod.name}"
    what = f"exit code {pod.exit_code}" if pod.exit_code is not None else "did not run"
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
