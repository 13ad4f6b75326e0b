"""Rules of a step, and rules between the steps of an experiment.

The API server evaluates a CEL rule for each step at every write, also of the status, and the cost of a field that the
rule reads grows with the number of fields in its object. Therefore only these rules are in CEL: without the first, the
types cannot read an object, and those about GPUs keep a Job from waiting for nodes that it can't use. The others are
checked when an experiment is reconciled (:mod:`maskrcnn_operator.core.graph`), and their problems are reported in the
condition Stalled; so are those about GPUs, for an object that an older definition has accepted.
"""

from __future__ import annotations

from maskrcnn_operator.api.cel import CelRule, any_of, quoted, unless_broken_before
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
        message_expression=f"'step ' + self.name + ' is exactly one task of {', '.join(_TASKS)}; found ' + "
        f"({any_of(*_TASKS)} ? 'several' : 'none')",
    ),
    unless_broken_before(
        lambda step: (
            f"!has({step}.processesPerNode) || !has({step}.gpusPerNode) || {step}.gpusPerNode == 0 || "
            f"{step}.processesPerNode <= {step}.gpusPerNode"
        ),
        "processesPerNode must be at most gpusPerNode: two processes can't share a GPU",
        field=".processesPerNode",
    ),
)
"""Rules of a step in CEL."""

MIG_PREFIX = "nvidia.com/mig-"
"""Beginning of the resources of MIG instances; see NVIDIA's device plugin, strategy ``mixed``."""

SPEC_RULES = (
    unless_broken_before(
        lambda spec: (
            f"{spec}.steps.all(step, step.?gpusPerNode.orValue(0) <= 1 || !step.?podOverrides.?gpuResource.orValue("
            f"{spec}.?podOverrides.?gpuResource.orValue('')).startsWith({quoted(MIG_PREFIX)}))"
        ),
        f"gpusPerNode must be at most 1 with a gpuResource of MIG ({MIG_PREFIX}...): a process sees only one instance",
        field=".steps",
    ),
)
"""Rules between the spec and its steps in CEL."""

_NEED_A_MODEL = tasks_where(lambda kind: kind.needs_model_argument)
_MODEL_IN_SPEC = tasks_where(lambda kind: kind.model_in_spec)
_WITHOUT_MODEL = tasks_where(lambda kind: not kind.uses_models)
_READ_EXPORTED = tasks_where(lambda kind: Model.EXPORTED in kind.uses_models)
_READ_NO_PRUNED = tasks_where(lambda kind: bool(kind.uses_models) and Model.PRUNED not in kind.uses_models)
_MAKE_EXPORTED = tasks_where(lambda kind: kind.makes_model is Model.EXPORTED)
_MAKE_PRUNED = tasks_where(lambda kind: kind.makes_model is Model.PRUNED)

RULES_OF_THE_GRAPH = (
    f"only {in_words(SEVERAL_PROCESSES, 'and')} steps can have nodes or processesPerNode above 1",
    "dependsOn and modelFrom must name steps of this experiment",
    f"modelFrom must name {a_step_of(MODEL_MAKERS)}; only {in_words(_READ_EXPORTED, 'and')} can read the model of "
    f"{a_step_of(_MAKE_EXPORTED)}",
    f"{a_step_of(_NEED_A_MODEL)} needs a model: {a_step_of(NEXT_MODEL_MAKERS)} before it, modelFrom (a step), or "
    "modelPath (a file)",
    "at most one of modelFrom and modelPath can be given",
    f"{a_step_of(_WITHOUT_MODEL)} uses no model: leave out modelFrom and modelPath",
    f"{a_step_of(_MODEL_IN_SPEC)} takes a file as experiment.checkpoint (weights) or experiment.prunedModelPath "
    "(pruned model), not as modelPath; with modelFrom, leave out both",
    f"the model of {a_step_of(_MAKE_PRUNED)} must be retrained before {in_words(_READ_NO_PRUNED, 'and')} use it",
    f"at most one {in_words(RECORD_MAKERS)} step can have split: val",
    f"{in_words(FILE_READERS, 'and')} steps need the files of experiment.dataConfig that they read, or "
    f"{in_words(RECORD_MAKERS)} steps before them",
    "steps must not wait for each other or for themselves",
    "a step's experiment, merged with spec.experiment, must satisfy the rules of spec.experiment",
    "a training with several processes can have xla: true only with maskrcnnConfig.syncBn: false or freezeBn: true",
)
"""Rules that are checked when an experiment is reconciled, in words for the documentation."""
