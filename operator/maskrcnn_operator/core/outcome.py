"""What an observed run makes of its step's status."""

from __future__ import annotations

from datetime import datetime

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.api.task_kinds import TASK_KINDS
from maskrcnn_operator.core.asked import was_asked_to_stop
from maskrcnn_operator.core.failing import hides_the_failure, seen_to_fail, was_seen_to_fail
from maskrcnn_operator.core.node_lost import stopping_without_its_lost_node, tried_again_elsewhere
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.restart import after_failure, failed, uncounted
from maskrcnn_operator.core.runs import Run, RunState
from maskrcnn_operator.core.vanished import made_again_after_vanishing
from maskrcnn_trainer.errors import EXIT_INVALID
from maskrcnn_trainer.spec.task_name import TaskName


def adopted(step: StepStatus, run: Run) -> StepStatus:
    """The step with a run that is newer than its status: it was started, but the status could not be written."""
    kept = step if step.fingerprint == run.fingerprint else StepStatus(name=step.name)
    return kept.model_copy(
        update={
            "state": StepState.STARTING,
            "reason": Reason.STARTING.value,
            "message": "",
            "attempt": run.attempt,
            "fingerprint": run.fingerprint,
            "older_fingerprint": next(iter(run.older_fingerprints), None),
            "image": run.image,
            "run_start_time": None,
            "completion_time": None,
            "next_attempt_time": None,
        }
    )


def observed(
    step: StepStatus,
    run: Run | None,
    task: TaskName,
    *,
    max_restarts: int,
    now: datetime,
    settings: Settings,
) -> StepStatus:
    """The step after a look at the run of its newest attempt.

    Args:
        run: None where the executor made sure that there is none.
    """
    if step.state not in LIVE_STATES:
        return step
    # a run may be seen stopping that nobody asked to: its Job fails, or was deleted behind our back
    asked = was_asked_to_stop(step)
    if run is None:
        return _absent(step, asked, max_restarts=max_restarts, now=now, settings=settings)
    step = step.model_copy(
        update={
            "job_name": run.name or step.job_name,
            "start_time": step.start_time or run.started or now,
            "run_start_time": _run_start(step, run, now),
        }
    )
    if run.held:
        return _held(step, run, asked)
    if run.live:
        return stopping_without_its_lost_node(step if asked else _live(step, run, task), run)
    ended = _between(run.ended or now, run, now)
    return _ended(step, run, asked, max_restarts=max_restarts, ended=ended, settings=settings)


def _absent(step: StepStatus, asked: bool, *, max_restarts: int, now: datetime, settings: Settings) -> StepStatus:
    if asked:
        return _stopped(step, now, settings)
    if not was_seen_to_fail(step):
        return made_again_after_vanishing(step, now, settings)
    return after_failure(
        step,
        code=step.exit_code,
        said="",
        message=step.message,
        disrupted=False,
        max_restarts=max_restarts,
        ended=now,
        settings=settings,
    )


def _run_start(step: StepStatus, run: Run, now: datetime) -> datetime | None:
    """Return when the newest attempt of a step first ran; None as long as it has not.

    A release that did not know it has left steps without it: that alone is not worth a write.
    """
    as_before = step.state in (StepState.RUNNING, StepState.STOPPING) and step.state.value == run.state.value
    if step.run_start_time is not None or as_before:
        return step.run_start_time
    # a Job may be seen to be Complete before its pods are seen at all
    running = step.state is StepState.RUNNING or run.state is RunState.RUNNING
    ran = run.ran or (run.started or now if running else None)
    return _between(ran, run, now) if ran is not None else None


def _between(moment: datetime, run: Run, now: datetime) -> datetime:
    """Return a moment between the start of a run and now, whatever the clock of its node says."""
    return min(now, max(moment, run.started) if run.started else moment)


def _ended(
    step: StepStatus, run: Run, asked: bool, *, max_restarts: int, ended: datetime, settings: Settings
) -> StepStatus:
    code = run.exit_code if run.exit_code is not None else run.result.code if run.result else None
    disrupted = run.disrupted
    seen = step if was_seen_to_fail(step) and hides_the_failure(run, code) else None
    step = step.model_copy(update={"exit_code": code})
    if run.state is RunState.SUCCEEDED:
        return _succeeded(step, run, ended, settings)
    said, message = (run.result.reason, run.result.message) if run.result else ("", "")
    if run.disrupted and run.message:
        # the task only knows that it was stopped
        message = run.message
    message = message or run.message or (f"exit code {code}" if code is not None else "the run failed")
    if seen:
        code, said, message, disrupted = seen.exit_code, "", seen.message, False
        step = step.model_copy(update={"exit_code": code})
    if asked and code != EXIT_INVALID:
        return _stopped(step, ended, settings)
    if run.lost and code != EXIT_INVALID:
        return tried_again_elsewhere(step, run.lost, ended, settings)
    return after_failure(
        step,
        code=code,
        said=said,
        message=message,
        disrupted=disrupted,
        max_restarts=max_restarts,
        ended=ended,
        settings=settings,
    )


def _live(step: StepStatus, run: Run, task: TaskName) -> StepStatus:
    state = StepState(run.state.value)
    if run.failing:
        return seen_to_fail(step, run)
    if state is StepState.STOPPING and was_seen_to_fail(step):
        return step
    if state is StepState.RUNNING:
        reason, message = TASK_KINDS[task].running.value, ""
    else:
        reason, message = run.waiting_reason or state.value, run.message
    if state is StepState.QUEUED and step.reason == Reason.WORKLOAD_DEACTIVATED and not run.waiting_reason:
        # the event that said so is kept for an hour, and nothing says the contrary until the Job is admitted
        reason, message = step.reason, step.message
    return step.model_copy(update={"state": state, "reason": reason, "message": message})


def _held(step: StepStatus, run: Run, asked: bool) -> StepStatus:
    """The step whose run is out of reach: it stays live, so that no other attempt starts, and says why."""
    if not asked:
        state = StepState(run.state.value)
        return step.model_copy(update={"state": state, "reason": Reason.JOB_RELABELED.value, "message": run.held})
    # what it was asked for decides what it becomes, and stays
    said = step.message if run.held in step.message else "; ".join(part for part in (step.message, run.held) if part)
    return step.model_copy(update={"message": said})


def _succeeded(step: StepStatus, run: Run, ended: datetime, settings: Settings) -> StepStatus:
    result = run.result
    known = (step.fingerprint, run.fingerprint, *run.older_fingerprints)
    if result is None or (result.fingerprint and result.fingerprint not in known):
        # exit code 0 would say that the step has succeeded
        unknown = step.model_copy(update={"exit_code": None})
        return uncounted(unknown, Reason.RESULT_UNREADABLE, "its result cannot be read", ended, settings)
    return step.model_copy(
        update={
            "state": StepState.SUCCEEDED,
            "reason": (Reason.UP_TO_DATE if run.adopted or result.up_to_date else Reason.COMPLETED).value,
            "message": "",
            "completion_time": ended,
            "model_path": result.model_path,
            "artifacts": dict(result.artifacts),
            "metrics": result.metrics,
        }
    )


def _stopped(step: StepStatus, ended: datetime, settings: Settings) -> StepStatus:
    if step.reason == Reason.NODE_LOST:
        return tried_again_elsewhere(step, step.message, ended, settings)
    if step.reason in (Reason.DEADLINE_EXCEEDED, Reason.PRE_RUNNING_DEADLINE_EXCEEDED):
        return failed(step, step.reason, step.message, ended)
    return step.model_copy(
        update={
            "state": StepState.PENDING,
            "reason": Reason.STOPPED.value,
            "message": "",
            "image": None,
        }
    )


def stopping(step: StepStatus, reason: Reason, message: str) -> StepStatus:
    """The step while the run that it has is being stopped; a reason given before stays."""
    if was_asked_to_stop(step):
        return step
    return step.model_copy(update={"state": StepState.STOPPING, "reason": reason.value, "message": message})


def without_results(step: StepStatus) -> StepStatus:
    """A changed step: nothing that came of its old fingerprint stays but the number of its newest attempt."""
    return StepStatus(name=step.name, attempt=step.attempt, reason=Reason.SPEC_CHANGED.value)
