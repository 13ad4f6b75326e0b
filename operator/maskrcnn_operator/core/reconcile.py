"""``reconcile``: from an experiment and its observed runs to a plan. Pure.

The caller carries the plan out, whether by Jobs or by processes, writes the status before an ended run is forgotten,
and calls again when something changes or at ``wake_at``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepStatus
from maskrcnn_operator.core import attempts, edits, limits, starting, stopping, summary
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.core.plan import Plan, Policy, ReconcileContext, Settings, StartRefusal, Steps
from maskrcnn_operator.core.runs import Run

OBSERVATION: tuple[Policy, ...] = (
    attempts.renew_budgets_after_a_resume,
    edits.try_refused_starts_at_once_after_an_edit,
    attempts.follow_runs,
    edits.forget_fingerprints_that_lack_a_field,
)
"""Policies that bring the steps to what is observed; applied even to a spec that cannot be carried out."""
POLICIES: tuple[Policy, ...] = (
    *OBSERVATION,
    edits.drop_results_of_another_fingerprint,
    edits.replace_attempts_that_never_ran,
    edits.drop_images_chosen_before_an_edit,
    stopping.stop_while_suspended,
    limits.measure_active_time,
    limits.stop_when_the_time_of_all_steps_is_over,
    limits.stop_what_is_not_ready_in_time,
    limits.stop_what_runs_too_long,
)
"""Every policy on steps, in this order; of several requests to stop a step, the first stays. Then steps are started."""

_NOTHING: Mapping[str, str] = {}
_NO_REFUSALS: Mapping[str, StartRefusal] = {}


def reconcile(
    experiment: MaskRCNNExperiment,
    runs: Sequence[Run],
    now: datetime,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    desired: DesiredState | None = None,
    *,
    lingering: Mapping[str, str] = _NOTHING,
    refused: Mapping[str, StartRefusal] = _NO_REFUSALS,
) -> Plan:
    """Return what is to be done now.

    Args:
        experiment: the spec as the user has written it, with the status as it was last written.
        runs: every run of the experiment that exists. A run that the status knows and this lacks has vanished: the
            caller made sure of that.
        now: aware, taken once; times in the status are whole seconds.
        desired: what ``resolve(experiment)`` gives, for a caller that keeps it as long as the spec is unchanged;
            it is most of the work.
        lingering: by step, what has its labels and has not ended although it belongs to no live run, in words.
        refused: by step, attempts that an earlier plan was to start and that could not be.
    """
    if experiment.metadata.deletion_timestamp is not None:
        return Plan(experiment.status, write_status=False)
    context = ReconcileContext(
        experiment, runs, desired or resolve(experiment), now.replace(microsecond=0), settings, lingering, refused
    )
    problems = starting.problems_of(context)
    return _stalled(context, problems) if problems else _progressing(context)


def seen(experiment: MaskRCNNExperiment, now: datetime, desired: DesiredState) -> Plan:
    """Return the plan for an experiment whose first runs could not be started: an absent status would show nothing.

    Where they are started, the first status shows that.
    """
    now = now.replace(microsecond=0)
    context = ReconcileContext(experiment, (), desired, now, Settings(), lingering=_NOTHING, refused=_NO_REFUSALS)
    steps = {step.name: StepStatus(name=step.name, reason=Reason.PENDING.value) for step in experiment.spec.steps}
    return summary.conclude(context, steps, summary.seen())


def _progressing(context: ReconcileContext) -> Plan:
    """Return the plan for a spec that can be carried out."""
    steps = _after(POLICIES, context)
    deadline = limits.next_deadline(context, steps)
    steps, start, waits_end = starting.start_what_is_ready(context, steps)
    alive = stopping.what_is_still_alive(context.runs, context.lingering)
    verdict = summary.assess(tuple(steps.values()), suspend=context.experiment.spec.suspend, alive=alive)
    forget, later = limits.runs_to_forget(context.runs, steps, context.now, context.settings)
    stop = stopping.runs_to_stop(context.runs, steps)
    wake = (deadline, *waits_end, later)
    return summary.conclude(context, steps, verdict, start=start, stop=stop, forget=forget, wake=wake)


def _stalled(context: ReconcileContext, problems: tuple[ManifestProblem, ...]) -> Plan:
    """Return the plan for a spec that cannot be carried out: what runs continues and is followed, nothing starts."""
    suspend = context.experiment.spec.suspend
    steps = stopping.stop_while_suspended(context, _after(OBSERVATION, context))
    ended = not any(run.live for run in context.runs) and not context.lingering
    verdict = summary.invalid(problems, suspended=suspend and ended)
    holding = [run for run in context.runs if run.unfinished and run.step in steps]
    forget, _ = limits.runs_to_forget(holding, steps, context.now, context.settings)
    stop = tuple(key for key in stopping.runs_to_stop(context.runs, steps) if suspend or key.step in steps)
    return summary.conclude(context, steps, verdict, stop=stop, forget=forget)


def _after(policies: Iterable[Policy], context: ReconcileContext) -> Steps:
    """Return the steps, from those of the last status, after one policy after the other."""
    status = context.experiment.status
    steps: Steps = {
        step.name: status.step(step.name) or StepStatus(name=step.name) for step in context.experiment.spec.steps
    }
    for policy in policies:
        steps = policy(context, steps)
    return steps
