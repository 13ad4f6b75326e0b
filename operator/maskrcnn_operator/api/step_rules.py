"""Rules of a step, and between the steps of an experiment.

A rule in CEL is evaluated at every write of the status, too, and for each step; every field that it reads costs as much
as its object has fields. In CEL stands only what the types need to read an object. The rest is checked when an
experiment is reconciled (:mod:`maskrcnn_operator.core.graph`), and what is wrong stands in the condition Stalled.
"""

from __future__ import annotations

from maskrcnn_operator.api.cel import Rule, any_of
from maskrcnn_trainer.spec.task_name import TaskName

_TASKS = tuple(name.value for name in TaskName)

STEP_RULES = (
    Rule(
        f"{' + '.join(f'(has(self.{task}) ? 1 : 0)' for task in _TASKS)} == 1",
        f"a step is exactly one task of {', '.join(_TASKS)}",
        told=f"'step ' + self.name + ' is exactly one task of {', '.join(_TASKS)}; found ' + "
        f"({any_of(*_TASKS)} ? 'several' : 'none')",
    ),
)
"""In CEL."""

RULES_OF_THE_GRAPH = (
    "nodes and processesPerNode above 1 are for train steps only",
    "dependsOn and modelFrom name steps of this experiment",
    "modelFrom names a train, prune or export step; only evaluate and inference can read the model of an export step",
    "a prune, evaluate, inference or export step needs a model: a train or prune step before it, modelFrom (a step) or "
    "modelPath (a file)",
    "one of modelFrom and modelPath says which model is used",
    "a datasetConvert step uses no model: modelFrom and modelPath are left out",
    "modelPath is not for a train step, which takes a file as experiment.checkpoint (weights) or "
    "experiment.prunedModelPath (pruned model), or a step with modelFrom, not both",
    "the model of a prune step must be retrained before evaluate, inference and export use it",
    "at most one datasetConvert step has the split val",
    "train and evaluate steps, and an export step that is calibrated with records, need the files of "
    "experiment.dataConfig, or datasetConvert steps before them",
    "steps do not wait for each other or for themselves",
    "the experiment of a step holds to the rules of spec.experiment once it is merged with it",
)
"""Rules that reconciling checks, in words for the documentation."""
