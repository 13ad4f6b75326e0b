"""Rules of a step, and between the steps of an experiment.

A rule in CEL is evaluated at every write of the status, too, and for each step; every field that it reads costs as much
as its object has fields. In CEL stands only what the types need to read an object. The rest is checked when an
experiment is reconciled (:mod:`maskrcnn_operator.core.graph`), and what is wrong stands in the condition Stalled.
"""

from __future__ import annotations

from maskrcnn_operator.api.cel import CelRule, any_of
from maskrcnn_operator.api.task_kinds import (
    FILE_READERS,
    MODEL_MAKERS,
    NEXT_MODEL_MAKERS,
    RECORD_MAKERS,
    SEVERAL_PROCESSES,
    Model,
    a_step_of,
    in_words,
    tasks_where,
)
from maskrcnn_trainer.spec.task_name import TaskName

_TASKS = tuple(name.value for name in TaskName)

STEP_RULES = (
    CelRule(
        f"{' + '.join(f'(has(self.{task}) ? 1 : 0)' for task in _TASKS)} == 1",
        f"a step is exactly one task of {', '.join(_TASKS)}",
        told=f"'step ' + self.name + ' is exactly one task of {', '.join(_TASKS)}; found ' + "
        f"({any_of(*_TASKS)} ? 'several' : 'none')",
    ),
)
"""In CEL."""

_NEED_A_MODEL = tasks_where(lambda kind: kind.needs_model_argument)
_MODEL_IN_SPEC = tasks_where(lambda kind: kind.model_in_spec)
_WITHOUT_MODEL = tasks_where(lambda kind: not kind.uses_models)
_READ_EXPORTED = tasks_where(lambda kind: Model.EXPORTED in kind.uses_models)
_READ_NO_PRUNED = tasks_where(lambda kind: bool(kind.uses_models) and Model.PRUNED not in kind.uses_models)
_MAKE_EXPORTED = tasks_where(lambda kind: kind.makes_model is Model.EXPORTED)
_MAKE_PRUNED = tasks_where(lambda kind: kind.makes_model is Model.PRUNED)

RULES_OF_THE_GRAPH = (
    f"nodes and processesPerNode above 1 are for {in_words(SEVERAL_PROCESSES, 'and')} steps only",
    "dependsOn and modelFrom name steps of this experiment",
    f"modelFrom names {a_step_of(MODEL_MAKERS)}; only {in_words(_READ_EXPORTED, 'and')} can read the model of "
    f"{a_step_of(_MAKE_EXPORTED)}",
    f"{a_step_of(_NEED_A_MODEL)} needs a model: {a_step_of(NEXT_MODEL_MAKERS)} before it, modelFrom (a step) or "
    "modelPath (a file)",
    "one of modelFrom and modelPath says which model is used",
    f"{a_step_of(_WITHOUT_MODEL)} uses no model: modelFrom and modelPath are left out",
    f"modelPath is not for {a_step_of(_MODEL_IN_SPEC)}, which takes a file as experiment.checkpoint (weights) or "
    "experiment.prunedModelPath (pruned model), or a step with modelFrom, not both",
    f"the model of {a_step_of(_MAKE_PRUNED)} must be retrained before {in_words(_READ_NO_PRUNED, 'and')} use it",
    f"at most one {in_words(RECORD_MAKERS)} step has the split val",
    f"{in_words(FILE_READERS, 'and')} steps need the files of experiment.dataConfig that they read, or "
    f"{in_words(RECORD_MAKERS)} steps before them",
    "steps do not wait for each other or for themselves",
    "the experiment of a step holds to the rules of spec.experiment once it is merged with it",
)
"""Rules that reconciling checks, in words for the documentation."""
