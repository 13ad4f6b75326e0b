"""Edits: effects of a changed spec on steps that have a result, an attempt, or an image."""

from __future__ import annotations

from maskrcnn_operator.api.experiment import Step
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core.fingerprint import lacks_what_it_reads
from maskrcnn_operator.core.plan import REFUSAL_REASONS, ReconcileContext, Steps
from maskrcnn_operator.core.stopping import ask_to_stop
from maskrcnn_operator.core.template import is_another_template

UNKNOWN = ""
"""Fingerprint of a result whose inputs are unknown; it stays in the status until the run of the step has ended."""


def try_refused_starts_at_once_after_an_edit(context: ReconcileContext, steps: Steps) -> Steps:
    """End the wait of steps whose start was refused if the spec has changed since."""
    if not context.is_edited:
        return steps
    return {
        name: step.model_copy(update={"next_attempt_time": None}) if step.reason in REFUSAL_REASONS else step
        for name, step in steps.items()
    }


def forget_fingerprints_that_lack_a_field(context: ReconcileContext, steps: Steps) -> Steps:
    """Forget fingerprints that may not cover the edit of the spec."""
    if not context.is_edited:
        return steps
    return {
        name: without_fingerprint_that_lacks_a_field(step, context.experiment.step(name))
        for name, step in steps.items()
    }


def without_fingerprint_that_lacks_a_field(step: StepStatus, manifest: Step) -> StepStatus:
    """Return an edited step; its fingerprint becomes unknown if it may not cover the edit.

    Version 1 does not cover the seed of an INT8 export that calibrates on images. The result of such a step stays until
    any field is edited; then the step runs again.
    """
    if step.fingerprint is None or not lacks_what_it_reads(manifest, step.fingerprint):
        return step
    return step.model_copy(update={"fingerprint": UNKNOWN, "older_fingerprint": None})


def drop_results_of_another_fingerprint(context: ReconcileContext, steps: Steps) -> Steps:
    """Drop the results of steps whose fingerprint has changed; a live run is stopped first."""
    found = dict(steps)
    for name, step in steps.items():
        if step.fingerprint is None or context.desired.recognizes(name, step.fingerprint):
            continue
        found[name] = without_result(step, "the step was changed")
    return found


def without_result(step: StepStatus, why: str) -> StepStatus:
    """Return a step whose result doesn't count any more, with only the number of its attempt; a live one must stop."""
    if step.state in LIVE_STATES:
        return ask_to_stop(step, Reason.SPEC_CHANGED, why)
    return StepStatus(name=step.name, attempt=step.attempt, reason=Reason.SPEC_CHANGED.value)


def replace_attempts_that_never_ran(context: ReconcileContext, steps: Steps) -> Steps:
    """Stop each attempt that never ran and whose Job was made from another spec.

    No work is lost, and a correction of an image, resources, or a queue needs no suspension. An attempt that has run
    continues, and the change applies to the next attempt.
    """
    newest, found = {(run.step, run.attempt): run for run in context.runs}, dict(steps)
    for name, step in steps.items():
        run, template = newest.get((name, step.attempt)), context.desired.templates[name]
        if run is not None and _never_ran(step) and is_another_template(run.template, template):
            message = f"attempt {step.attempt} never ran and is replaced, because the spec of its Job has changed"
            found[name] = ask_to_stop(step, Reason.TEMPLATE_CHANGED, message)
    return found


def _never_ran(step: StepStatus) -> bool:
    """Return whether the newest attempt still waits: in a queue, or for a node, its image, or its peers."""
    return step.state in (StepState.QUEUED, StepState.STARTING) and step.run_start_time is None


def drop_images_chosen_before_an_edit(context: ReconcileContext, steps: Steps) -> Steps:
    """Drop the recorded image of steps that wait for a retry if the spec of their Job has changed.

    A step's status records the image of an attempt. If the spec names no image, each retry uses the recorded one, so
    that a new default of the operator does not change the image in the middle of a training. The recorded image is
    dropped when the user suspends, resumes, or edits the experiment; the next attempt then uses the image of the spec,
    or the current default.
    """
    return {
        name: step.model_copy(update={"image": None})
        if step.state is StepState.PENDING and step.image is not None and differs_from_its_job(context, step)
        else step
        for name, step in steps.items()
    }


def differs_from_its_job(context: ReconcileContext, step: StepStatus) -> bool:
    """Return whether the Job of a step's newest attempt would be made from another spec now.

    If that Job is gone, or doesn't show its spec, any edit counts.
    """
    run = next((run for run in context.runs if (run.step, run.attempt) == (step.name, step.attempt)), None)
    if run is None or not run.template:
        return context.is_edited
    return is_another_template(run.template, context.desired.templates[step.name])
