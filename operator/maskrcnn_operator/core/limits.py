"""Time limits: deadlines of experiments and steps, retention of ended runs, and ttlSecondsAfterFinished."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from maskrcnn_operator.api.experiment import ExperimentBody, MaskRCNNExperiment, Step
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, ConditionType, ExperimentStatus, StepState, StepStatus
from maskrcnn_operator.core.plan import ReconcileContext, Settings, Steps
from maskrcnn_operator.core.runs import Run, RunKey, RunState
from maskrcnn_operator.core.stopping import ask_every_live_step_to_stop, ask_to_stop

# activeDeadlineSeconds: running time of all steps, or of all attempts of one step


def is_active(step: StepStatus) -> bool:
    """Return whether the time of a step counts as active: from when its attempt runs until its pods have ended.

    preRunningDeadlineSeconds limits the time before that.
    """
    return step.state is StepState.RUNNING or (step.state is StepState.STOPPING and step.run_start_time is not None)


def active_time(status: ExperimentStatus | StepStatus, now: datetime) -> timedelta:
    """Return how long steps, or all attempts of one step, have run; the start of pods does not count."""
    done = timedelta(seconds=status.active_seconds or 0)
    return done + (max(timedelta(), now - status.active_since) if status.active_since else timedelta())


def active_deadline(
    spec: ExperimentBody | Step, status: ExperimentStatus | StepStatus, now: datetime
) -> tuple[bool, datetime | None]:
    """Return whether the deadline of an experiment or a step has passed, and when it passes if steps keep running."""
    if spec.active_deadline_seconds is None:
        return False, None
    left = timedelta(seconds=spec.active_deadline_seconds) - active_time(status, now)
    if left <= timedelta():
        return True, None
    return False, now + left if status.active_since else None


def measure_active_time(context: ReconcileContext, steps: Steps) -> Steps:
    """Bring the active time of every step up to now."""
    return {name: with_active_time(step, context.experiment, context.now) for name, step in steps.items()}


def with_active_time(step: StepStatus, experiment: MaskRCNNExperiment, now: datetime) -> StepStatus:
    """Return a step with a deadline with its active time up to now; a step without a deadline has none."""
    if experiment.step(step.name).active_deadline_seconds is None:
        untimed = step.active_seconds is None and step.active_since is None
        return step if untimed else step.model_copy(update={"active_seconds": None, "active_since": None})
    if is_active(step) == (step.active_since is not None):
        return step
    if step.active_since is None:
        return step.model_copy(update={"active_since": now})
    seconds = int(active_time(step, now).total_seconds())
    return step.model_copy(update={"active_seconds": seconds, "active_since": None})


def deadline_that_is_over(context: ReconcileContext, step: StepStatus) -> str:
    """Return a message that names the activeDeadlineSeconds that a step has exceeded; the experiment's comes first."""
    return _deadline_of_all(context) or _own_deadline(context, step)


def _deadline_of_all(context: ReconcileContext) -> str:
    spec, status = context.experiment.spec, context.experiment.status
    over, _ = active_deadline(spec, status, context.now)
    return f"activeDeadlineSeconds ({spec.active_deadline_seconds}) exceeded" if over else ""


def _own_deadline(context: ReconcileContext, step: StepStatus) -> str:
    spec = context.experiment.step(step.name)
    over, _ = active_deadline(spec, step, context.now)
    return f"activeDeadlineSeconds ({spec.active_deadline_seconds}) of step {step.name} exceeded" if over else ""


def stop_when_the_time_of_all_steps_is_over(context: ReconcileContext, steps: Steps) -> Steps:
    """Stop every live step when the experiment has exceeded its activeDeadlineSeconds."""
    over = _deadline_of_all(context)
    return ask_every_live_step_to_stop(steps, Reason.DEADLINE_EXCEEDED, over) if over else steps


def stop_what_runs_too_long(context: ReconcileContext, steps: Steps) -> Steps:
    """Stop every live step that has exceeded its own activeDeadlineSeconds."""
    found = dict(steps)
    for name, step in steps.items():
        over = _own_deadline(context, step) if step.state in LIVE_STATES else ""
        if over:
            found[name] = ask_to_stop(step, Reason.DEADLINE_EXCEEDED, over)
    return found


# preRunningDeadlineSeconds: time until an attempt runs


def pre_running_deadline(spec: ExperimentBody, run: Run, now: datetime) -> tuple[bool, datetime | None]:
    """Return whether a run that never ran has exceeded preRunningDeadlineSeconds, and when it will."""
    if spec.pre_running_deadline_seconds is None or run.state is not RunState.STARTING or run.started is None:
        return False, None
    over = run.started + timedelta(seconds=spec.pre_running_deadline_seconds)
    return over <= now, over if over > now else None


def stop_what_is_not_ready_in_time(context: ReconcileContext, steps: Steps) -> Steps:
    """Stop every live step whose attempt has not run within preRunningDeadlineSeconds."""
    spec, found = context.experiment.spec, dict(steps)
    for run in _runs_that_never_ran(context.runs, steps):
        late, _ = pre_running_deadline(spec, run, context.now)
        if late:
            limit = f"not ready within preRunningDeadlineSeconds ({spec.pre_running_deadline_seconds})"
            why = ": ".join(part for part in (run.waiting_reason, run.message) if part)
            message = f"{limit}: {why}" if why else limit
            found[run.step] = ask_to_stop(steps[run.step], Reason.PRE_RUNNING_DEADLINE_EXCEEDED, message)
    return found


def _runs_that_never_ran(runs: Iterable[Run], steps: Steps) -> list[Run]:
    """Return the runs of live steps that have not run yet.

    A run that was preempted after it had run is not among them, because it has been able to start.
    """
    found = []
    for run in runs:
        step = steps.get(run.step)
        newest = step is not None and run.attempt == step.attempt and step.state in LIVE_STATES
        if newest and step is not None and step.run_start_time is None:
            found.append(run)
    return found


def next_deadline(context: ReconcileContext, steps: Steps) -> datetime | None:
    """Return when the next deadline of a step passes; None if there is none."""
    spec, now = context.experiment.spec, context.now
    later = [pre_running_deadline(spec, run, now)[1] for run in _runs_that_never_ran(context.runs, steps)]
    later += [active_deadline(step, steps[step.name], now)[1] for step in spec.steps]
    return min((at for at in later if at is not None), default=None)


# Retention of ended runs, and of the finished experiment


def runs_to_forget(
    runs: Sequence[Run], steps: Steps, now: datetime, settings: Settings
) -> tuple[tuple[RunKey, ...], datetime | None]:
    """Return the ended runs to remove now, and when the next one is to be removed.

    The run of an older attempt is removed when a newer one starts, the last run of a step ``keep_last_run`` after it
    ended. A run of a step that left the spec, or that still holds resources, is removed at once.
    """
    found: list[RunKey] = []
    later: list[datetime] = []
    for run in runs:
        if run.live or run.deleted:
            continue
        step = steps.get(run.step)
        until = (run.ended or now) + settings.keep_last_run
        if step is None or run.attempt < step.attempt or run.unfinished or until <= now:
            found.append(run.key)
        else:
            later.append(until)
    return tuple(found), min(later, default=None)


def deleted_at(spec: ExperimentBody, status: ExperimentStatus) -> datetime | None:
    """Return when the experiment is to be deleted; None if it has no limit, or Succeeded is not True or False yet."""
    succeeded = status.condition(ConditionType.SUCCEEDED)
    if spec.ttl_seconds_after_finished is None or status.completion_time is None:
        return None
    if succeeded is None or succeeded.status == "Unknown":
        return None
    return status.completion_time + timedelta(seconds=spec.ttl_seconds_after_finished)


def is_still_to_be_deleted(decided: MaskRCNNExperiment, live: MaskRCNNExperiment, now: datetime) -> bool:
    """Return whether an experiment is still the one to delete: the same object and spec, and its time has passed."""
    same = (live.metadata.uid, live.metadata.generation) == (decided.metadata.uid, decided.metadata.generation)
    end = deleted_at(live.spec, live.status)
    return same and end is not None and end <= now
