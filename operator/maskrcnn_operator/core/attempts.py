"""Attempts: the status of a step after its runs were observed, while they are live and when they have ended."""

from __future__ import annotations

from datetime import datetime

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, ConditionType, StepState, StepStatus
from maskrcnn_operator.api.task_kinds import TASK_KINDS
from maskrcnn_operator.core.plan import ReconcileContext, Settings, Steps
from maskrcnn_operator.core.progress import with_newest_checkpoint
from maskrcnn_operator.core.retries import AttemptFailure, after_failure, failed, resumed, uncounted
from maskrcnn_operator.core.runs import Run, RunState
from maskrcnn_operator.core.stopping import was_asked_to_stop
from maskrcnn_operator.core.workspace_paths import shown_artifact, shown_place
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_STOPPED
from maskrcnn_trainer.spec.task_name import TaskName


def renew_budgets_after_a_resume(context: ReconcileContext, steps: Steps) -> Steps:
    """Give failed steps a new budget of retries, and pending ones the current image, after a suspension."""
    status = context.experiment.status
    if not status.is_true(ConditionType.SUSPENDED) or context.experiment.spec.suspend:
        return steps
    return {name: resumed(step) for name, step in steps.items()}


def follow_runs(context: ReconcileContext, steps: Steps) -> Steps:
    """Update every step from its runs, whatever the spec requests now."""
    return {name: _followed(step, context) for name, step in steps.items()}


def _followed(step: StepStatus, context: ReconcileContext) -> StepStatus:
    runs = {run.attempt: run for run in context.runs if run.step == step.name}
    newer = sorted(attempt for attempt in runs if attempt > step.attempt)
    # if a newer run exists, the attempt in the status has ended and may have to be counted: the newer one was started,
    # but the status was not written afterwards
    for attempt in newer if step.attempt not in runs and newer else (step.attempt, *newer):
        run = runs.get(attempt)
        if run is not None and attempt > step.attempt:
            step = _adopted(step, run)
        if step.fingerprint is not None:
            # the checkpoints of a result that was dropped don't count any more
            step = with_newest_checkpoint(step, run, context.experiment.status.progress)
        step = _observed(step, run, context)
    return step


def _adopted(step: StepStatus, run: Run) -> StepStatus:
    """Return the step with a run newer than its status, which could not be written after the run was started."""
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


def _observed(step: StepStatus, run: Run | None, context: ReconcileContext) -> StepStatus:
    """Return the step after its newest attempt was observed; ``run`` is None if the attempt is known to be gone."""
    if step.state not in LIVE_STATES:
        return step
    if run is None:
        return _absent(step, context)
    now = context.now
    step = step.model_copy(
        update={
            "job_name": run.name or step.job_name,
            "start_time": step.start_time or run.started or now,
            "run_start_time": _run_start(step, run, now),
        }
    )
    if run.held:
        return _held(step, run)
    if run.live:
        return _live(step, run, context.experiment.step(step.name).task_name)
    return _ended(step, run, _within_its_run(run.ended or now, run, now), context)


def _run_start(step: StepStatus, run: Run, now: datetime) -> datetime | None:
    """Return when the newest attempt of a step first ran; None until then.

    An older release has left steps without this time, which alone is not worth a write of the status.
    """
    as_before = step.state in (StepState.RUNNING, StepState.STOPPING) and step.state.value == run.state.value
    if step.run_start_time is not None or as_before:
        return step.run_start_time
    # a Job may be seen as Complete before any of its pods is seen
    running = step.state is StepState.RUNNING or run.state is RunState.RUNNING
    ran = run.ran or (run.started or now if running else None)
    return _within_its_run(ran, run, now) if ran is not None else None


def _within_its_run(moment: datetime, run: Run, now: datetime) -> datetime:
    """Return a time limited to the interval from the start of a run to now, because clocks of nodes may be wrong."""
    return min(now, max(moment, run.started) if run.started else moment)


# Runs that are live


def _held(step: StepStatus, run: Run) -> StepStatus:
    """Return a step whose run can be neither followed nor stopped: it stays live, so that no other attempt starts."""
    if not was_asked_to_stop(step):
        state = StepState(run.state.value)
        return step.model_copy(update={"state": state, "reason": Reason.JOB_RELABELED.value, "message": run.held})
    # the reason of the request decides the next state of the step, so it stays
    parts = (step.message, run.held)
    message = step.message if run.held in step.message else "; ".join(part for part in parts if part)
    return step.model_copy(update={"message": message})


def _live(step: StepStatus, run: Run, task: TaskName) -> StepStatus:
    if was_asked_to_stop(step):
        return step
    state = StepState(run.state.value)
    if run.failing:
        failing = step.model_copy(update={"exit_code": run.exit_code})
        step = _stopping_by_itself(failing, Reason.FAILING, run.failing)
    if run.lost:
        # the other pods are stopped because the worker group is incomplete. A failure seen before does not count: pods
        # that lose a peer fail at once, and the peer's node is found lost only later
        return _stopping_by_itself(step, Reason.NODE_LOST, run.lost)
    if run.failing or (state is StepState.STOPPING and _was_seen_to_fail(step)):
        return step
    if state is StepState.RUNNING:
        reason, message = TASK_KINDS[task].running.value, ""
    else:
        reason, message = run.waiting_reason or state.value, run.message
    if state is StepState.QUEUED and step.reason == Reason.WORKLOAD_DEACTIVATED and not run.waiting_reason:
        # the event that names it is deleted after an hour; the reason applies until the Job is admitted
        reason, message = step.reason, step.message
    return step.model_copy(update={"state": state, "reason": reason, "message": message})


def _stopping_by_itself(step: StepStatus, reason: Reason, message: str) -> StepStatus:
    return step.model_copy(update={"state": StepState.STOPPING, "reason": reason.value, "message": message})


# Runs that have ended, and those that are gone


def _ended(step: StepStatus, run: Run, ended: datetime, context: ReconcileContext) -> StepStatus:
    exit_code = run.exit_code if run.exit_code is not None else run.result.exit_code if run.result else None
    seen, asked = _failure_seen_before(step, run, exit_code), was_asked_to_stop(step)
    step = step.model_copy(update={"exit_code": exit_code})
    if run.state is RunState.SUCCEEDED:
        return _succeeded(step, run, ended, context)
    failure = seen or _failure(run, exit_code)
    step = _above_later_attempt(step.model_copy(update={"exit_code": failure.exit_code}), run)
    if failure.exit_code != EXIT_INVALID:
        if asked:
            return _stopped(step, ended, context.settings)
        if run.lost:
            return _tried_again_elsewhere(step, run.lost, ended, context.settings)
    return after_failure(step, failure, ended, context)


def _failure(run: Run, exit_code: int | None) -> AttemptFailure:
    task_reason, message = (run.result.reason, run.result.message) if run.result else ("", "")
    if run.disrupted and run.message:
        # the task itself knows only that it was stopped
        message = run.message
    message = message or run.message or (f"exit code {exit_code}" if exit_code is not None else "the run failed")
    return AttemptFailure(exit_code, message, task_reason, run.disrupted)


def _above_later_attempt(step: StepStatus, run: Run) -> StepStatus:
    """Return the step with the number of a later attempt that its run has found, so that the next one is above it.

    The status was lost or restored, and so has a lower number than the results directory.
    """
    later = run.result.later_attempt if run.result is not None else None
    return step if later is None or later <= step.attempt else step.model_copy(update={"attempt": later})


def _was_seen_to_fail(step: StepStatus) -> bool:
    """Return whether the step is stopping because one of its pods has failed."""
    return step.state is StepState.STOPPING and step.reason == Reason.FAILING


def _failure_seen_before(step: StepStatus, run: Run, exit_code: int | None) -> AttemptFailure | None:
    """Return the failure seen while other pods of the attempt ran, if the run, now ended, no longer shows it.

    After their Job is deleted, pods are removed one by one. Those left at the next reconciliation may all have ended
    with 143, or none may be left.
    """
    if _was_seen_to_fail(step) and (run.disrupted or exit_code in (None, EXIT_STOPPED)):
        return AttemptFailure(step.exit_code, step.message)
    return None


def _succeeded(step: StepStatus, run: Run, ended: datetime, context: ReconcileContext) -> StepStatus:
    result, workspace = run.result, context.experiment.spec.workspace
    known = (step.fingerprint, run.fingerprint, *run.older_fingerprints)
    if result is None or (result.fingerprint and result.fingerprint not in known):
        # exit code 0 would mean that the step has succeeded
        unknown = step.model_copy(update={"exit_code": None})
        return uncounted(unknown, Reason.RESULT_UNREADABLE, "its result cannot be read", ended, context.settings)
    return step.model_copy(
        update={
            "state": StepState.SUCCEEDED,
            "reason": (Reason.UP_TO_DATE if run.adopted or result.up_to_date else Reason.COMPLETED).value,
            "message": "",
            "completion_time": ended,
            "model_path": None if result.model_path is None else shown_place(result.model_path, workspace),
            "report_path": None if result.report_path is None else shown_place(result.report_path, workspace),
            "artifacts": {name: shown_artifact(artifact, workspace) for name, artifact in result.artifacts.items()},
            "metrics": result.metrics,
        }
    )


def _stopped(step: StepStatus, ended: datetime, settings: Settings) -> StepStatus:
    """Return the step after a requested stop; the reason of the request decides the next state."""
    if step.reason == Reason.NODE_LOST:
        return _tried_again_elsewhere(step, step.message, ended, settings)
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


def _tried_again_elsewhere(step: StepStatus, message: str, ended: datetime, settings: Settings) -> StepStatus:
    """Return the step after all pods but the lost ones have ended; ``run.json`` keeps lost pods from writing."""
    return uncounted(step, Reason.NODE_LOST, message, ended, settings)


def _absent(step: StepStatus, context: ReconcileContext) -> StepStatus:
    """Return a step whose run is gone: its result is unknown, so it is attempted again.

    If the run has left a result, the next attempt finds it and ends at once.
    """
    if was_asked_to_stop(step):
        return _stopped(step, context.now, context.settings)
    if _was_seen_to_fail(step):
        return after_failure(step, AttemptFailure(step.exit_code, step.message), context.now, context)
    name = f"its Job {step.job_name}" if step.job_name else "its run"
    seen = step.message if step.state is StepState.STOPPING and step.reason == Reason.STOPPING else ""
    message = f"{name} is gone; before: {seen}" if seen else f"{name} is gone"
    return uncounted(step, Reason.RUN_LOST, message, context.now, context.settings)
