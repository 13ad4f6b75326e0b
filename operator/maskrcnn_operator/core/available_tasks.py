"""Tasks that this release's trainer does not have yet: refused by name before anything starts."""

from __future__ import annotations

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.tasks import TaskName

NOT_YET_AVAILABLE: frozenset[TaskName] = frozenset()


def unavailable_tasks(
    experiment: MaskRCNNExperiment, missing: frozenset[TaskName] = NOT_YET_AVAILABLE
) -> tuple[Problem, ...]:
    """One problem for each step whose task the trainer does not have."""
    return tuple(
        Problem(
            f"spec.steps[{index}].{step.task_name.value}",
            f"step {step.name}: the task {step.task_name.value} is not part of this release; remove the step",
            Reason.TASK_NOT_AVAILABLE,
        )
        for index, step in enumerate(experiment.spec.steps)
        if step.task_name in missing
    )
