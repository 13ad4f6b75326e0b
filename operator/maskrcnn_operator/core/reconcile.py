"""``reconcile``: pure function from an experiment and its observed runs to a plan.

The caller carries out the plan, with Jobs or with processes. It writes the status before it removes an ended run, and
calls again when something changes, and at ``wake_at``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepStatus
from maskrcnn_operator.core import (
    attempts,
    edits,
    limits,
    publish_delay,
    starting,
    stopping,
    summary,
    workspace_edits,
)
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.core.plan import Plan, Policy, ReconcileContext, Settings, StartRefusal, Steps
from maskrcnn_operator.core.runs import Run

OBSERVATION: tuple[Policy, ...] = (
    attempts.renew_budgets_after_a_resume,
    edits.try_refused_starts_at_once_after_an_edit,
    attempts.follow_runs,
    publish_delay.show_delayed_publishes,
    edits.forget_fingerprints_that_lack_a_field,
)
"""Policies that update the steps from observations; applied even if the spec is invalid."""
POLICIES: tuple[Policy, ...] = (
    *OBSERVATION,
    workspace_edits.drop_results_of_another_workspace,
    edits.drop_results_of_another_fingerprint,
    workspace_edits.try_refused_owners_again_after_an_edit,
    edits.replace_attempts_that_never_ran,
    edits.drop_images_chosen_before_an_edit,
    stopping.stop_while_suspended,
    limits.measure_active_time,
    limits.stop_when_the_time_of_all_steps_is_over,
    limits.stop_what_is_not_ready_in_time,
    limits.stop_what_runs_too_long,
)
"""All policies on steps, in order; the first request to stop a step wins. Afterwards steps are started."""

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
    """Compute the plan for one experiment.

    Args:
        experiment: spec as written by the user, with the status as last written.
        runs: all existing runs of the experiment. The caller has made sure that a run that is in the status but not
            here is gone.
        now: aware; times in the status are whole seconds.
        settings: settings of the executor.
        desired: result of ``resolve(experiment)``, which is most of the work, if the caller has kept it since the spec
            last changed.
        lingering: by step, description of pods or Jobs that have the step's labels and have not ended, but belong to no
            live run.
        refused: by step, refusals of attempts that an earlier plan was to start.
    """
    if experiment.metadata.deletion_timestamp is not None:
        return Plan(experiment.status, write_status=False)
    context = ReconcileContext(
        experiment, runs, desired or resolve(experiment), now.replace(microsecond=0), settings, lingering, refused
    )
    problems = starting.problems_of(context)
    return _stalled(context, problems) if problems else _progressing(context)


def seen(experiment: MaskRCNNExperiment, now: datetime, desired: DesiredState) -> Plan:
    """Return the plan that writes a first status for an experiment whose first runs could not be started.

    If they start, the first status already shows them.
    """
    now = now.replace(microsecond=0)
    context = ReconcileContext(experiment, (), desired, now, Settings(), lingering=_NOTHING, refused=_NO_REFUSALS)
    steps = {step.name: StepStatus(name=step.name, reason=Reason.PENDING.value) for step in experiment.spec.steps}
    return summary.conclude(context, steps, summary.seen())


def _progressing(context: ReconcileContext) -> Plan:
    """Return the plan for a valid spec."""
    steps = _after(POLICIES, context)
    workspace = workspace_edits.workspace_to_record(context, steps)
    deadline = limits.next_deadline(context, steps)
    steps, start, waits_end = starting.start_what_is_ready(context, steps)
    alive = stopping.what_is_still_alive(context.runs, context.lingering)
    verdict = summary.assess(tuple(steps.values()), suspend=context.experiment.spec.suspend, alive=alive)
    forget, later = limits.runs_to_forget(context.runs, steps, context.now, context.settings)
    stop = stopping.runs_to_stop(context.runs, steps)
    wake = (deadline, *waits_end, later, publish_delay.next_delayed_publish(context, steps))
    return summary.conclude(
        context,
        steps,
        verdict,
        start=start,
        stop=stop,
        forget=forget,
        wake=wake,
        workspace=workspace,
    )


def _stalled(context: ReconcileContext, problems: tuple[ManifestProblem, ...]) -> Plan:
    """Return the plan for an invalid spec: live runs continue and are observed, and no step starts."""
    suspend = context.experiment.spec.suspend
    steps = stopping.stop_while_suspended(context, _after(OBSERVATION, context))
    ended = not any(run.live for run in context.runs) and not context.lingering
    verdict = summary.invalid(problems, suspended=suspend and ended)
    holding = [run for run in context.runs if run.unfinished and run.step in steps]
    forget, _ = limits.runs_to_forget(holding, steps, context.now, context.settings)
    stop = tuple(key for key in stopping.runs_to_stop(context.runs, steps) if suspend or key.step in steps)
    wake = (publish_delay.next_delayed_publish(context, steps),)
    workspace = workspace_edits.workspace_of_an_older_status(context)
    return summary.conclude(context, steps, verdict, stop=stop, forget=forget, wake=wake, workspace=workspace)


def _after(policies: Iterable[Policy], context: ReconcileContext) -> Steps:
    """Return the steps of the last status after all policies were applied in order."""
    status = context.experiment.status
    steps: Steps = {
        step.name: status.step(step.name) or StepStatus(name=step.name) for step in context.experiment.spec.steps
    }
    for policy in policies:
        steps = policy(context, steps)
    return steps
