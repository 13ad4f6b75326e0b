"""The image of a chain of attempts: each retry of an attempt takes the image that the attempt had.

A step's status records the image. Where the spec names none, the next attempt takes the recorded one, so that another
default of the operator does not reach a training in the middle. A chain ends where the user has a hand in it: with a
suspension, a resume, or an edit; then the image that applies is the spec's, else the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.desired import DesiredState
from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.core.template import is_another_template


def drop_images_of_before_an_edit(
    steps: Mapping[str, StepStatus], runs: Sequence[Run], desired: DesiredState, *, edited: bool
) -> dict[str, StepStatus]:
    """Return the steps, those that wait for a retry without their image where the spec of their Job has changed.

    Args:
        edited: whether the spec has changed at all since the last look, for attempts whose Job does not show its spec.
    """
    newest = {(run.step, run.attempt): run for run in runs}
    found = dict(steps)
    for name, step in steps.items():
        if step.state is not StepState.PENDING or step.image is None:
            continue
        run = newest.get((name, step.attempt))
        if is_another_template(run.template, desired.templates[name]) if run and run.template else edited:
            found[name] = step.model_copy(update={"image": None})
    return found
