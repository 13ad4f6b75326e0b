"""``reconcile``: from an experiment and the runs that were observed to what is to be done. Pure.

Whoever calls it carries the plan out, whether by Jobs or by processes, writes the status before an ended run is
forgotten, and calls again when something changes or at ``wake_at``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from maskrcnn_operator.api.conditions import ConditionType
from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core import conditions, outcome, readiness, restart
from maskrcnn_operator.core.deadlines import active_deadline, pre_running_deadline
from maskrcnn_operator.core.events import events_between
from maskrcnn_operator.core.graph import ModelUse
from maskrcnn_operator.core.merge import with_model
from maskrcnn_operator.core.plan import Plan, Settings, StartRun
from maskrcnn_operator.core.runs import Run, RunKey, RunState
from maskrcnn_operator.core.summary import assemble
from maskrcnn_operator.core.wanted import Wanted, understand


def reconcile(
    experiment: MaskRCNNExperiment,
    runs: Sequence[Run],
    now: datetime,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    wanted: Wanted | None = None,
) -> Plan:
    """What is to be done now.

    Args:
        experiment: the spec as the user wants it, with the status as it was last written.
        runs: every run of the experiment that exists. A run that the status knows and this lacks has vanished: the
            caller made sure of that.
        now: aware, taken once; times in the status are whole seconds.
        wanted: what ``understand(experiment, settings)`` gives, for a caller that keeps it as long as the spec stands;
            it is most of the work.
    """
    now = now.replace(microsecond=0)
    wanted = wanted or understand(experiment, settings)
    if wanted.problems:
        return _stalled(experiment, runs, wanted, now, settings)
    if experiment.status.observed_generation is None and not runs:
        steps = tuple(StepStatus(name=step.name, reason=Reason.PENDING.value) for step in experiment.spec.steps)
        return _plan(experiment, wanted, steps, conditions.seen(), now=now, wake_at=now)
    return _Reconciliation(experiment, runs, wanted, now, settings).plan()


def observe_steps(
    experiment: MaskRCNNExperiment, runs: Sequence[Run], now: datetime, settings: Settings
) -> dict[str, StepStatus]:
    """Each step of the spec after a look at its runs, whatever the spec now wants of it."""
    resumed = experiment.status.is_true(ConditionType.SUSPENDED) and not experiment.spec.suspend
    steps: dict[str, StepStatus] = {}
    for wanted in experiment.spec.steps:
        step = experiment.status.step(wanted.name) or StepStatus(name=wanted.name)
        mine = {run.attempt: run for run in runs if run.step == wanted.name}
        newest = max(mine, default=0)
        if newest > step.attempt:
            step = outcome.adopted(step, mine[newest])
        step = outcome.observed(
            step,
            mine.get(step.attempt),
            wanted.task_name,
            max_restarts=experiment.spec.max_restarts,
            now=now,
            settings=settings,
        )
        reported = experiment.status.progress
        if reported and reported.step == step.name and (reported.checkpoint_step or 0) > (step.checkpoint_step or 0):
            step = step.model_copy(update={"checkpoint_step": reported.checkpoint_step, "disruptions": 0})
        steps[step.name] = restart.forgiven(step) if resumed else step
    return steps


class _Reconciliation:
    """One pass over an experiment whose spec is valid."""

    def __init__(
        self, experiment: MaskRCNNExperiment, runs: Sequence[Run], wanted: Wanted, now: datetime, settings: Settings
    ) -> None:
        self.experiment, self.runs, self.wanted, self.now, self.settings = experiment, runs, wanted, now, settings
        self.steps = observe_steps(experiment, runs, now, settings)
        self.live_runs = {run.key: run for run in runs if run.live}
        self.stop: list[RunKey] = []
        self.start: list[StartRun] = []
        self.wake: list[datetime] = []

    def plan(self) -> Plan:
        unwanted = self._drop_what_changed()
        self._stop_old_runs(unwanted)
        if self.experiment.spec.suspend:
            self._stop_live(Reason.SUSPENDED, "spec.suspend is true")
        over = self._keep_deadlines()
        self._start_or_wait(unwanted, over)
        steps = tuple(self.steps[step.name] for step in self.experiment.spec.steps)
        verdict = conditions.judge(steps, suspend=self.experiment.spec.suspend)
        forget = _forgettable(self.runs, steps, self.now, self.settings)
        later = _forget_later(self.runs, forget, self.settings, self.now)
        return _plan(
            self.experiment,
            self.wanted,
            steps,
            verdict,
            now=self.now,
            start=tuple(self.start),
            stop=tuple(dict.fromkeys(self.stop)),
            forget=forget,
            wake_at=min([*self.wake, *([later] if later else [])], default=None),
        )

    def _drop_what_changed(self) -> frozenset[str]:
        """Steps whose recorded fingerprint is no longer wanted lose their results; returns those that still run."""
        cleared: dict[str, object] = {"model_path": None, "artifacts": {}, "metrics": (), "checkpoint_step": None}
        running = set()
        for name, step in self.steps.items():
            if step.fingerprint is None or self.wanted.recognises(name, step.fingerprint):
                continue
            if step.state in LIVE_STATES:
                running.add(name)
                halted = outcome.stopping(step, Reason.SPEC_CHANGED, "the step was changed")
                self.steps[name] = halted.model_copy(update=cleared)
            else:
                self.steps[name] = outcome.without_results(step)
        return frozenset(running)

    def _stop_old_runs(self, unwanted: frozenset[str]) -> None:
        """Stops runs of changed steps, of steps that left the spec, and of attempts that are not the newest."""
        for key in self.live_runs:
            step = self.steps.get(key.step)
            if step is None or key.step in unwanted or key.attempt != step.attempt or step.state not in LIVE_STATES:
                self.stop.append(key)

    def _stop_live(self, reason: Reason, message: str) -> None:
        for name, step in self.steps.items():
            if step.state in LIVE_STATES:
                self.steps[name] = outcome.stopping(step, reason, message)
                key = RunKey(name, step.attempt)
                if key in self.live_runs:
                    self.stop.append(key)

    def _keep_deadlines(self) -> bool:
        spec = self.experiment.spec
        over, at = active_deadline(spec, self.experiment.status, self.now)
        if at is not None:
            self.wake.append(at)
        if over:
            limit = f"activeDeadlineSeconds ({spec.active_deadline_seconds}) is over"
            self._stop_live(Reason.DEADLINE_EXCEEDED, limit)
        for key, run in self.live_runs.items():
            step = self.steps.get(key.step)
            if step is None or step.state in (StepState.STOPPING, StepState.SUCCEEDED) or key.attempt != step.attempt:
                continue
            late, at = pre_running_deadline(spec, run, self.now)
            if at is not None:
                self.wake.append(at)
            if late:
                limit = f"not ready within preRunningDeadlineSeconds ({spec.pre_running_deadline_seconds})"
                said = f"{limit}: {run.waiting_reason or run.message}" if run.waiting_reason or run.message else limit
                self.steps[key.step] = outcome.stopping(step, Reason.PRE_RUNNING_DEADLINE_EXCEEDED, said)
                self.stop.append(key)
        # a run that was stopped earlier and has not ended is asked again, which does no harm
        self.stop += [
            key
            for key, run in self.live_runs.items()
            if key.step in self.steps
            and self.steps[key.step].state is StepState.STOPPING
            and run.state is not RunState.STOPPING
        ]
        return over

    def _start_or_wait(self, unwanted: frozenset[str], over: bool) -> None:
        old = frozenset(key.step for key in self.stop if key.step in unwanted or key.step not in self.steps)
        held_back = readiness.blocked_by_old_runs(self.wanted.graph, old | unwanted)
        haunted = frozenset(key.step for key in self.live_runs if key.step in self.steps)
        limit = self.settings.max_parallel_steps
        for name in self.steps:
            if self.steps[name].state is not StepState.PENDING:
                continue
            if self.experiment.spec.suspend:
                suspended = {"reason": Reason.SUSPENDED.value, "message": "", "next_attempt_time": None}
                self.steps[name] = self.steps[name].model_copy(update=suspended)
                continue
            wait = readiness.waits_for(
                name, self.steps, self.wanted.graph, held_back=held_back, haunted=haunted, now=self.now
            )
            if wait is None and over:
                message = f"activeDeadlineSeconds ({self.experiment.spec.active_deadline_seconds}) is over"
                self.steps[name] = restart.failed(self.steps[name], Reason.DEADLINE_EXCEEDED, message, self.now)
                continue
            if wait is None and limit is not None and readiness.running(self.steps) >= limit:
                wait = readiness.Wait(Reason.WAITING_FOR_TURN, f"{limit} step(s) run at a time")
            if wait is None:
                self._start(name)
                continue
            if wait.until is not None:
                self.wake.append(wait.until)
            self.steps[name] = self.steps[name].model_copy(update={"reason": str(wait.reason), "message": wait.message})

    def _start(self, name: str) -> None:
        step, wanted = self.steps[name], self.wanted
        node, manifest = wanted.graph.nodes[name], self.experiment.step(name)
        maker = self.steps[node.model] if node.model else None
        if maker is not None and maker.model_path is None:
            message = f"step {maker.name} has succeeded without naming a model: change its revision to run it again"
            self.steps[name] = restart.failed(step, Reason.ERROR, message, self.now)
            return
        spec = wanted.specs[name]
        if spec is not None and maker is not None:
            spec = with_model(spec, node, maker.model_path)
        argument = maker.model_path if maker and node.model_use is ModelUse.ARGUMENT else manifest.model_path
        known = step.fingerprint if wanted.recognises(name, step.fingerprint) else None
        attempt = step.attempt + 1
        image = self.experiment.spec.image or step.image or self.settings.default_image
        self.steps[name] = step.model_copy(
            update={
                "state": StepState.STARTING,
                "reason": Reason.STARTING.value,
                "message": "",
                "attempt": attempt,
                "job_name": self.settings.run_name(name, attempt),
                "image": image,
                "fingerprint": known or wanted.fingerprint(name),
                "start_time": step.start_time or self.now,
                "completion_time": None,
                "next_attempt_time": None,
            }
        )
        self.start.append(StartRun(name, attempt, known or wanted.fingerprint(name), image, spec, argument))


def _stalled(
    experiment: MaskRCNNExperiment, runs: Sequence[Run], wanted: Wanted, now: datetime, settings: Settings
) -> Plan:
    """A spec that cannot be carried out: what runs goes on and is accounted for, nothing is started."""
    steps = tuple(observe_steps(experiment, runs, now, settings).values())
    live = any(run.live for run in runs)
    verdict = conditions.invalid(wanted.problems, suspended=experiment.spec.suspend and not live)
    stop = tuple(run.key for run in runs if run.live) if experiment.spec.suspend else ()
    if experiment.spec.suspend:
        steps = tuple(
            outcome.stopping(step, Reason.SUSPENDED, "spec.suspend is true") if step.state in LIVE_STATES else step
            for step in steps
        )
    return _plan(experiment, wanted, steps, verdict, now=now, stop=stop)


def _plan(
    experiment: MaskRCNNExperiment,
    wanted: Wanted,
    steps: tuple[StepStatus, ...],
    verdict: conditions.Verdict,
    *,
    now: datetime,
    start: tuple[StartRun, ...] = (),
    stop: tuple[RunKey, ...] = (),
    forget: tuple[RunKey, ...] = (),
    wake_at: datetime | None = None,
) -> Plan:
    status = assemble(experiment, wanted.graph, steps, verdict, now)
    return Plan(status, start, stop, forget, events_between(experiment.status, status), wake_at)


def _forgettable(
    runs: Sequence[Run], steps: tuple[StepStatus, ...], now: datetime, settings: Settings
) -> tuple[RunKey, ...]:
    """Ended runs that are not their step's newest attempt, and newest ones whose time is over."""
    attempts = {step.name: step.attempt for step in steps}
    return tuple(
        run.key
        for run in runs
        if not run.live
        and (
            run.attempt < attempts.get(run.step, run.attempt + 1) or (run.ended or now) + settings.keep_last_run <= now
        )
    )


def _forget_later(
    runs: Sequence[Run], forgotten: tuple[RunKey, ...], settings: Settings, now: datetime
) -> datetime | None:
    moments = [run.ended + settings.keep_last_run for run in runs if run.ended and run.key not in forgotten]
    return min((moment for moment in moments if moment > now), default=None)
