"""``reconcile``: from an experiment and the runs that were observed to what is to be done. Pure.

Whoever calls it carries the plan out, whether by Jobs or by processes, writes the status before an ended run is
forgotten, and calls again when something changes or at ``wake_at``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, ConditionType, ExperimentStatus, StepState, StepStatus
from maskrcnn_operator.core import conditions, outcome, readiness, restart
from maskrcnn_operator.core.changed import (
    drop_what_changed,
    replace_what_never_ran,
    without_fingerprint_that_lacks_a_field,
)
from maskrcnn_operator.core.checkpoint import progress_is_to_be_dropped, with_newest_checkpoint
from maskrcnn_operator.core.deadlines import (
    active_deadline,
    over_its_deadline,
    stop_what_is_not_ready_in_time,
    stop_what_runs_too_long,
)
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.core.events import events_between
from maskrcnn_operator.core.image import drop_images_of_before_an_edit
from maskrcnn_operator.core.plan import Plan, Refusal, Settings, StartRun
from maskrcnn_operator.core.refusal import tried_at_once_after_an_edit, waiting_after_a_refusal
from maskrcnn_operator.core.retention import runs_to_forget
from maskrcnn_operator.core.runs import Run, RunKey
from maskrcnn_operator.core.sharing import problems_of_sharing, steps_at_a_time, waits_for_the_claim
from maskrcnn_operator.core.starting import next_attempt, problems_of_overlap
from maskrcnn_operator.core.stopping import (
    runs_to_stop,
    stop_every_live_step,
    what_is_still_alive,
)
from maskrcnn_operator.core.summary import assemble, with_active_time
from maskrcnn_operator.core.ttl import deleted_at

Steps = dict[str, StepStatus]
_NOTHING: Mapping[str, str] = {}
_NO_REFUSALS: Mapping[str, Refusal] = {}


def reconcile(
    experiment: MaskRCNNExperiment,
    runs: Sequence[Run],
    now: datetime,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    desired: DesiredState | None = None,
    *,
    lingering: Mapping[str, str] = _NOTHING,
    refused: Mapping[str, Refusal] = _NO_REFUSALS,
) -> Plan:
    """What is to be done now.

    Args:
        experiment: the spec as the user wants it, with the status as it was last written.
        runs: every run of the experiment that exists. A run that the status knows and this lacks has vanished: the
            caller made sure of that.
        now: aware, taken once; times in the status are whole seconds.
        desired: what ``resolve(experiment)`` gives, for a caller that keeps it as long as the spec stands;
            it is most of the work.
        lingering: by step, what has its labels and has not ended although it belongs to no live run, in words.
        refused: by step, attempts that an earlier plan was to start and that could not be.
    """
    now = now.replace(microsecond=0)
    if experiment.metadata.deletion_timestamp is not None:
        return Plan(experiment.status, write_status=False)
    desired = desired or resolve(experiment)
    problems = (
        *desired.problems,
        *problems_of_overlap(experiment, runs, desired),
        *problems_of_sharing(experiment, settings.workspace_shared),
    )
    look = _Look(experiment, runs, desired, now=now, settings=settings, lingering=lingering, refused=refused)
    if problems:
        return look.stalled(problems)
    return look.plan()


def seen(experiment: MaskRCNNExperiment, now: datetime, desired: DesiredState) -> Plan:
    """Say that an experiment has been seen whose first runs could not be started: a status that is absent says nothing.

    Where they are started, the first status says that.
    """
    look = _Look(
        experiment, (), desired, now=now.replace(microsecond=0), settings=Settings(), lingering={}, refused=_NO_REFUSALS
    )
    return look.seen()


def observe_steps(
    experiment: MaskRCNNExperiment, runs: Sequence[Run], now: datetime, settings: Settings
) -> dict[str, StepStatus]:
    """Each step of the spec after a look at its runs, whatever the spec now wants of it."""
    resumed = experiment.status.is_true(ConditionType.SUSPENDED) and not experiment.spec.suspend
    edited = _is_edited(experiment)
    steps: dict[str, StepStatus] = {}
    for desired in experiment.spec.steps:
        step = experiment.status.step(desired.name) or StepStatus(name=desired.name)
        step = restart.resumed(step) if resumed else step
        step = tried_at_once_after_an_edit(step, edited=edited)
        mine = {run.attempt: run for run in runs if run.step == desired.name}
        newer = sorted(attempt for attempt in mine if attempt > step.attempt)
        # an attempt that the status knows to live and whose successor is there has ended, and may have to be counted:
        # the status was to be written after the successor was started, and was not
        for attempt in newer if step.attempt not in mine and newer else (step.attempt, *newer):
            run = mine.get(attempt)
            if run is not None and attempt > step.attempt:
                step = outcome.adopted(step, run)
            step = with_newest_checkpoint(step, run, experiment.status.progress)
            step = outcome.observed(
                step, run, desired.task_name, max_restarts=experiment.spec.max_restarts, now=now, settings=settings
            )
        step = without_fingerprint_that_lacks_a_field(step, desired) if edited else step
        steps[step.name] = step
    return steps


def _is_edited(experiment: MaskRCNNExperiment) -> bool:
    """Return whether the spec has changed since the status was written."""
    return experiment.status.observed_generation != experiment.metadata.generation


class _Look:
    """One look at an experiment: its steps go through one policy after the other."""

    def __init__(
        self,
        experiment: MaskRCNNExperiment,
        runs: Sequence[Run],
        desired: DesiredState,
        *,
        now: datetime,
        settings: Settings,
        lingering: Mapping[str, str],
        refused: Mapping[str, Refusal],
    ) -> None:
        self.experiment, self.runs, self.desired, self.now, self.settings = experiment, runs, desired, now, settings
        self.lingering, self.refused = lingering, refused
        self.wake: list[datetime] = []

    def seen(self) -> Plan:
        """Every step is pending."""
        steps = {step.name: StepStatus(name=step.name, reason=Reason.PENDING.value) for step in self._spec_steps}
        return self._conclude(steps, conditions.seen())

    def stalled(self, problems: tuple[Problem, ...]) -> Plan:
        """A spec that cannot be carried out: what runs goes on and is accounted for, nothing is started."""
        steps, suspend = (
            observe_steps(self.experiment, self.runs, self.now, self.settings),
            self.experiment.spec.suspend,
        )
        steps = self._suspended(steps) if suspend else steps
        ended = not any(run.live for run in self.runs) and not self.lingering
        stop = tuple(key for key in runs_to_stop(self.runs, steps) if suspend or key.step in steps)
        holding = [run for run in self.runs if run.unfinished and run.step in steps]
        forget, _ = runs_to_forget(holding, steps, self.now, self.settings)
        verdict = conditions.invalid(problems, suspended=suspend and ended)
        return self._conclude(steps, verdict, stop=stop, forget=forget)

    def plan(self) -> Plan:
        """A spec that can be carried out."""
        steps = observe_steps(self.experiment, self.runs, self.now, self.settings)
        steps = drop_what_changed(steps, self.desired)
        steps = replace_what_never_ran(steps, self.runs, self.desired)
        steps = drop_images_of_before_an_edit(steps, self.runs, self.desired, edited=_is_edited(self.experiment))
        steps = self._suspended(steps) if self.experiment.spec.suspend else steps
        steps = {name: with_active_time(step, self.experiment, self.now) for name, step in steps.items()}
        steps, over = self._within_deadlines(steps)
        steps, start = self._started(steps, over=over)
        alive = what_is_still_alive(self.runs, self.lingering)
        verdict = conditions.judge(tuple(steps.values()), suspend=self.experiment.spec.suspend, alive=alive)
        forget, later = runs_to_forget(self.runs, steps, self.now, self.settings)
        self.wake += [later] if later else []
        return self._conclude(steps, verdict, start=start, stop=runs_to_stop(self.runs, steps), forget=forget)

    def _held_and_no_longer_in_the_spec(self) -> tuple[StepStatus, ...]:
        """Steps whose run cannot be stopped: forgotten, it would run next to an attempt of a step added again."""
        names = {step.name for step in self._spec_steps}
        held = [self.experiment.status.step(run.step) for run in self.runs if run.held and run.step not in names]
        return tuple(step for step in held if step is not None)

    @property
    def _spec_steps(self) -> Sequence[Step]:
        return self.experiment.spec.steps

    def _suspended(self, steps: Steps) -> Steps:
        return stop_every_live_step(steps, Reason.SUSPENDED, "spec.suspend is true")

    def _within_deadlines(self, steps: Steps) -> tuple[Steps, Mapping[str, str]]:
        """The steps, and by name why one may not be started: activeDeadlineSeconds of all steps or its own is over."""
        spec = self.experiment.spec
        over, _ = active_deadline(spec, self.experiment.status, self.now)
        if over:
            steps = stop_every_live_step(steps, Reason.DEADLINE_EXCEEDED, _over(spec.active_deadline_seconds))
        steps, at = stop_what_is_not_ready_in_time(steps, self.runs, spec, self.now)
        self.wake += [at] if at else []
        steps, late, at = stop_what_runs_too_long(steps, spec, self.now)
        self.wake += [at] if at else []
        if over:
            return steps, dict.fromkeys(steps, _over(spec.active_deadline_seconds))
        return steps, {name: over_its_deadline(self.experiment.step(name)) for name in late}

    def _started(self, steps: Steps, *, over: Mapping[str, str]) -> tuple[Steps, tuple[StartRun, ...]]:
        occupied = {run.step: f"attempt {run.attempt}" for run in self.runs if run.live} | dict(self.lingering)
        held_back = readiness.blocked_by_runs(self.desired.graph, frozenset(occupied))
        start: list[StartRun] = []
        for name in [name for name, step in steps.items() if step.state is StepState.PENDING]:
            if self.experiment.spec.suspend:
                steps[name] = restart.resting(steps[name])
                continue
            if self._has_just_failed(steps[name]):
                self.wake.append(max(self.now, steps[name].next_attempt_time or self.now))
                continue
            wait = readiness.waits_for(
                name, steps, self.desired.graph, held_back=held_back, occupied=occupied, now=self.now
            )
            if wait is None and name in over:
                steps[name] = restart.failed(steps[name], Reason.DEADLINE_EXCEEDED, over[name], self.now)
                continue
            wait = wait or waits_for_the_claim(self.experiment, self.settings, self.now)
            wait = wait or readiness.waits_for_its_turn(steps, steps_at_a_time(self.settings))
            if wait is None and name in self.refused:
                steps[name] = waiting_after_a_refusal(steps[name], self.refused[name], self.now, self.settings)
                self.wake += [steps[name].next_attempt_time or self.now]
            elif wait is None:
                steps[name], run = next_attempt(
                    name, steps, self.experiment, self.desired, now=self.now, settings=self.settings
                )
                start += [run] if run else []
            else:
                self.wake += [wait.until] if wait.until else []
                steps[name] = readiness.waiting(steps[name], wait)
        return steps, tuple(start)

    def _has_just_failed(self, step: StepStatus) -> bool:
        """Whether an attempt is about to be told as failed; the next one, though its time has come, takes another look.

        Only what stands in a status makes an event, a metric and a message.
        """
        before = self.experiment.status.step(step.name)
        return before is not None and before.state in LIVE_STATES and step.next_attempt_time is not None

    def _conclude(
        self,
        steps: Mapping[str, StepStatus],
        verdict: conditions.Verdict,
        *,
        start: tuple[StartRun, ...] = (),
        stop: tuple[RunKey, ...] = (),
        forget: tuple[RunKey, ...] = (),
    ) -> Plan:
        before = self.experiment.status
        ordered = tuple(steps[step.name] for step in self._spec_steps)
        status = assemble(self.experiment, self.desired.graph, ordered, verdict, self.now)
        status = status.model_copy(update={"steps": (*status.steps, *self._held_and_no_longer_in_the_spec())})
        # of the new status: no other look may follow the one that sees a step run
        _, at = active_deadline(self.experiment.spec, status, self.now)
        self.wake += [at] if at else []
        end = deleted_at(self.experiment.spec, status)
        self.wake += [end] if end and end > self.now else []
        return Plan(
            status,
            start,
            stop,
            forget,
            events_between(before, status),
            min(self.wake, default=None),
            write_status=_what_is_written(status) != _what_is_written(before),
            drop_progress=progress_is_to_be_dropped(before.progress, status.progress),
            delete_experiment=end is not None and end <= self.now,
        )


def _what_is_written(status: ExperimentStatus) -> ExperimentStatus:
    """Return the status without what other writers own: the progress, and conditions of other types."""
    return status.model_copy(update={"progress": None, "conditions": conditions.ours(status.conditions)})


def _over(seconds: int | None) -> str:
    return f"activeDeadlineSeconds ({seconds}) is over"
