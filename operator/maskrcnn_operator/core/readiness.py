"""Readiness: reasons why a pending step waits or fails instead of starting.

The name of each check is a sentence about a pending step. :data:`CHECKS` has their order. The first check that applies
gives the reason to wait; if none applies, the step starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core.claims import mounted_claims
from maskrcnn_operator.core.limits import deadline_that_is_over
from maskrcnn_operator.core.plan import ReconcileContext, Steps
from maskrcnn_operator.core.workspace_edits import is_about_another_workspace

OWNER_CHECK_INTERVAL = timedelta(seconds=30)
"""Interval of checks for a namespace that can't be read; no watch of the operator shows a new permission."""
CLAIM_CHECK_INTERVAL = timedelta(seconds=30)
"""Interval of checks for a claim that does not exist; no watch of the operator shows its creation."""


class BackOff(Enum):
    """Effect of a wait on the step's back-off (``nextAttemptTime``): kept, ended, or started until ``Wait.until``."""

    KEPT = auto()
    ENDED = auto()
    STARTED = auto()


@dataclass(frozen=True)
class Wait:
    """Reason why a step does not start now; ``until`` is set if the wait ends by time alone."""

    reason: str
    message: str
    until: datetime | None = None
    back_off: BackOff = BackOff.KEPT


@dataclass(frozen=True)
class Never:
    """Reason why a step can no longer start and fails."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Candidate:
    """Pending step, as input of the checks.

    Attributes:
        name: name of the step.
        steps: all steps by name, including those that have just been started.
        context: input of the reconciliation.
    """

    name: str
    steps: Steps
    context: ReconcileContext

    @property
    def step(self) -> StepStatus:
        """Return the status of the step."""
        return self.steps[self.name]


Check = Callable[[Candidate], Wait | Never | None]


def the_experiment_is_suspended(candidate: Candidate) -> Wait | None:
    """Wait while spec.suspend is true."""
    if not candidate.context.experiment.spec.suspend:
        return None
    return Wait(Reason.SUSPENDED, "", back_off=BackOff.ENDED)


def its_failure_is_not_reported_yet(candidate: Candidate) -> Wait | None:
    """Wait until the status has shown the end of the last attempt, even if the next one is due.

    Events, metrics, and messages are made only from the status.
    """
    step, context = candidate.step, candidate.context
    before = context.experiment.status.step(candidate.name)
    if before is None or before.state not in LIVE_STATES or step.next_attempt_time is None:
        return None
    return Wait(step.reason, step.message, max(context.now, step.next_attempt_time))


def an_upstream_step_has_failed(candidate: Candidate) -> Wait | None:
    """Wait if an upstream step has finally failed."""
    graph = candidate.context.desired.graph
    upstream = graph.ancestors(candidate.name)
    for name in graph.nodes:
        if name in upstream and candidate.steps[name].state is StepState.FAILED:
            message = f"step {name} failed, so this step cannot run"
            return Wait(Reason.UPSTREAM_FAILED, message, back_off=BackOff.ENDED)
    return None


def an_upstream_step_has_not_succeeded(candidate: Candidate) -> Wait | None:
    """Wait for all steps that this one needs."""
    needs, steps = candidate.context.desired.graph.nodes[candidate.name].needs, candidate.steps
    missing = [name for name in needs if steps[name].state is not StepState.SUCCEEDED]
    if not missing:
        return None
    return Wait(Reason.WAITING_FOR_STEPS, f"waits for {', '.join(missing)}", back_off=BackOff.ENDED)


def it_is_backing_off(candidate: Candidate) -> Wait | None:
    """Wait until the next attempt is due."""
    step = candidate.step
    if step.next_attempt_time is None or step.next_attempt_time <= candidate.context.now:
        return None
    return Wait(step.reason, step.message, step.next_attempt_time)


def something_of_it_is_still_alive(candidate: Candidate) -> Wait | None:
    """Wait until the run of an earlier attempt, or lingering pods, have ended."""
    alive = candidate.context.occupied.get(candidate.name)
    return Wait(Reason.WAITING_FOR_PODS, f"waits for the end of {alive}") if alive is not None else None


def others_still_use_its_old_result(candidate: Candidate) -> Wait | None:
    """Wait until no run that may read the step's results directory is alive."""
    context = candidate.context
    if candidate.name not in context.held_back:
        return None
    others = "; ".join(words for other, words in context.occupied.items() if other not in context.desired.graph.nodes)
    which = f" (not a step of the spec: {others})" if others else ""
    return Wait(Reason.UPSTREAM_CHANGED, f"waits for the end of steps that use its old result{which}")


def its_deadline_is_over(candidate: Candidate) -> Never | None:
    """Fail a step that has exceeded its activeDeadlineSeconds or those of the experiment."""
    over = deadline_that_is_over(candidate.context, candidate.step)
    return Never(Reason.DEADLINE_EXCEEDED, over) if over else None


def a_claim_is_unknown(candidate: Candidate) -> Wait | None:
    """Wait until it is known whether several nodes can mount the workspace and the cache."""
    context = candidate.context
    unknown = [
        f"the PersistentVolumeClaim {claim.name} ({claim.field}) does not exist or cannot be read"
        for claim in mounted_claims(context)
        if claim.shared is None
    ]
    if not unknown:
        return None
    return Wait(Reason.WAITING_FOR_CLAIM, "; ".join(unknown), context.now + CLAIM_CHECK_INTERVAL)


def the_owner_is_unknown(candidate: Candidate) -> Wait | None:
    """Wait until it is known who owns the results of an experiment in object storage."""
    context = candidate.context
    url = context.experiment.spec.workspace.url
    if url is None or context.settings.owner_id is not None:
        return None
    return Wait(
        Reason.OWNER_UNKNOWN,
        f"the namespace {context.experiment.metadata.namespace}, whose uid is the owner of the results in {url}, "
        "cannot be read",
        context.now + OWNER_CHECK_INTERVAL,
    )


def the_workspace_before_is_still_used(candidate: Candidate) -> Wait | None:
    """Wait until the attempts that were started with another workspace have ended."""
    context, steps = candidate.context, candidate.steps
    if not is_about_another_workspace(context):
        return None
    live = [name for name, step in steps.items() if step.state in LIVE_STATES]
    if not live:
        return None
    message = f"waits for the end of {', '.join(live)} in the workspace {context.experiment.status.workspace}"
    return Wait(Reason.SPEC_CHANGED, message)


def as_many_steps_run_as_may(candidate: Candidate) -> Wait | None:
    """Wait until fewer steps run than the limit allows."""
    limit = steps_at_a_time(candidate.context)
    if limit is None or sum(step.state in LIVE_STATES for step in candidate.steps.values()) < limit:
        return None
    return Wait(Reason.WAITING_FOR_TURN, f"only {limit} step(s) can run at a time")


def its_start_was_refused(candidate: Candidate) -> Wait | None:
    """Wait for the longest back-off; the refused attempt does not count."""
    context = candidate.context
    refusal = context.refused.get(candidate.name)
    if refusal is None:
        return None
    until = context.now + context.settings.back_off_limit
    return Wait(refusal.reason.value, refusal.message, until, BackOff.STARTED)


CHECKS: tuple[Check, ...] = (
    the_experiment_is_suspended,
    its_failure_is_not_reported_yet,
    an_upstream_step_has_failed,
    an_upstream_step_has_not_succeeded,
    it_is_backing_off,
    something_of_it_is_still_alive,
    others_still_use_its_old_result,
    its_deadline_is_over,
    the_workspace_before_is_still_used,
    a_claim_is_unknown,
    the_owner_is_unknown,
    as_many_steps_run_as_may,
    its_start_was_refused,
)
"""Checks in the order in which they are made; the first that applies decides."""


def answer(candidate: Candidate) -> Wait | Never | None:
    """Return why a pending step does not start now; None if it starts."""
    return next((found for check in CHECKS if (found := check(candidate)) is not None), None)


def waiting(step: StepStatus, wait: Wait) -> StepStatus:
    """Return the pending step with the reason of its wait."""
    update: dict[str, object] = {"reason": str(wait.reason), "message": wait.message}
    if wait.back_off is not BackOff.KEPT:
        update["next_attempt_time"] = wait.until if wait.back_off is BackOff.STARTED else None
    return step.model_copy(update=update)


def steps_at_a_time(context: ReconcileContext) -> int | None:
    """Return the maximum number of steps that run at a time; None for no limit."""
    return context.settings.max_parallel_steps if all(claim.shared for claim in mounted_claims(context)) else 1
