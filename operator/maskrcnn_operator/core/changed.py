"""Steps whose desired fingerprint is no longer the recorded one, and attempts that wait with an old template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskrcnn_operator.api.experiment import Step
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core.desired import DesiredState
from maskrcnn_operator.core.fingerprint import lacks_what_it_reads
from maskrcnn_operator.core.outcome import stopping, without_results
from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.core.template import is_another_template

UNKNOWN = ""
"""Fingerprint of results of which nothing is known; it stays in the status until the run of the step has ended."""


def without_fingerprint_that_lacks_a_field(step: StepStatus, manifest: Step) -> StepStatus:
    """Return an edited step, its fingerprint unknown where the edit may be one that it does not cover.

    Version 1 lacks the seed of an INT8 export that calibrates on images: as long as nothing is edited its result stays,
    and after an edit of anything it is made again.
    """
    if step.fingerprint is None or not lacks_what_it_reads(manifest, step.fingerprint):
        return step
    return step.model_copy(update={"fingerprint": UNKNOWN, "older_fingerprint": None})


def drop_what_changed(steps: Mapping[str, StepStatus], desired: DesiredState) -> dict[str, StepStatus]:
    """Return the steps without the results of fingerprints that have changed; a run for one is stopped first."""
    found = dict(steps)
    for name, step in steps.items():
        if step.fingerprint is None or desired.recognises(name, step.fingerprint):
            continue
        if step.state in LIVE_STATES:
            found[name] = stopping(step, Reason.SPEC_CHANGED, "the step was changed")
        else:
            found[name] = without_results(step)
    return found


def replace_what_never_ran(
    steps: Mapping[str, StepStatus], runs: Sequence[Run], desired: DesiredState
) -> dict[str, StepStatus]:
    """Return the steps, each attempt stopping that never ran and whose Job was made of another spec.

    Nothing is lost by it, and a correction of an image, of resources or of a queue needs no suspension. An attempt that
    has run goes on: the change counts from the next one on.
    """
    newest = {(run.step, run.attempt): run for run in runs}
    found = dict(steps)
    for name, step in steps.items():
        run = newest.get((name, step.attempt))
        if run is not None and _never_ran(step) and is_another_template(run.template, desired.templates[name]):
            message = f"attempt {step.attempt} never ran and is replaced: what the spec says of its Job has changed"
            found[name] = stopping(step, Reason.TEMPLATE_CHANGED, message)
    return found


def _never_ran(step: StepStatus) -> bool:
    """Return whether the newest attempt waits to run: in a queue, for a node, for its image, or for its peers."""
    return step.state in (StepState.QUEUED, StepState.STARTING) and step.run_start_time is None
