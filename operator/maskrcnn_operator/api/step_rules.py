"""What must hold of a step, and between the steps of an experiment, in CEL: the rules of the step graph.

The server fills no default into a step, so a field with a default may be absent here.
"""

from __future__ import annotations

from maskrcnn_operator.api.cel import Rule, any_of, no_step
from maskrcnn_operator.api.tasks import TaskName

_TASKS = tuple(name.value for name in TaskName)
_USES_MODEL = any_of("evaluate", "prune", "inference", "export", of="s")
_MAKES_MODEL = any_of("train", "prune", of="{}")
_NAMED = "self.steps.exists(o, o.name == s.modelFrom{})"
_READS_RECORDS = (
    "(has(s.train) || (has(s.export) && s.export.?dataType.orValue('fp32') == 'int8' && "
    "!s.?export.?calibration.?imageDir.hasValue()))"
)


def _converts(split: str, of: str) -> str:
    return f"has({of}.datasetConvert) && {of}.datasetConvert.?split.orValue('train') == '{split}'"


def _converted_before(split: str) -> str:
    return f"self.steps.exists(j, o, j < i && {_converts(split, 'o')})"


def _file_of_step(field: str) -> str:
    whole = f"self.experiment.dataConfig.?{field}.orValue('')"
    return f"s.?experiment.?dataConfig.?{field}.orValue({whole})"


STEP_RULES = (
    Rule(
        f"[{', '.join(f'has(self.{task})' for task in _TASKS)}].filter(given, given).size() == 1",
        f"a step is exactly one task of {', '.join(_TASKS)}",
        told=f"'step ' + self.name + ' is exactly one task of {', '.join(_TASKS)}; found ' + "
        f"({any_of(*_TASKS)} ? 'several' : 'none')",
    ),
    Rule(
        "self.?nodes.orValue(1) == 1 || has(self.train)",
        "nodes above 1 is for train steps only: leave it out",
        field=".nodes",
    ),
    Rule(
        "self.?processesPerNode.orValue(1) == 1 || has(self.train)",
        "processesPerNode above 1 is for train steps only: leave it out",
        field=".processesPerNode",
    ),
    Rule(
        "!has(self.modelFrom) || !has(self.modelPath)",
        "modelFrom is given too: one of modelFrom and modelPath says which model is used",
        field=".modelPath",
    ),
    Rule(
        "!has(self.datasetConvert) || !has(self.modelFrom)",
        "a datasetConvert step uses no model: leave modelFrom out",
        field=".modelFrom",
    ),
    Rule(
        "!has(self.datasetConvert) || !has(self.modelPath)",
        "a datasetConvert step uses no model: leave modelPath out",
        field=".modelPath",
    ),
    Rule(
        "!has(self.train) || !has(self.modelPath)",
        "modelPath is not for a train step, which takes a file as experiment.checkpoint (weights) or "
        "experiment.prunedModelPath (pruned model)",
        field=".modelPath",
    ),
    Rule(
        "!has(self.train) || !has(self.modelFrom) || (self.?experiment.?checkpoint.orValue('') == '' && "
        "self.?experiment.?prunedModelPath.orValue('') == '')",
        "modelFrom says already where the weights come from: leave experiment.checkpoint and "
        "experiment.prunedModelPath out",
        field=".experiment",
    ),
    Rule(
        "!has(self.dependsOn) || !(self.name in self.dependsOn)",
        "dependsOn names the step itself: name steps that come before it",
        field=".dependsOn",
    ),
    Rule(
        "!has(self.modelFrom) || self.modelFrom != self.name",
        "modelFrom names the step itself: name a train, prune or export step that comes before it",
        field=".modelFrom",
    ),
)

STEPS_RULES = (
    no_step(
        "has(s.dependsOn) && s.dependsOn.exists(d, !self.steps.exists(o, o.name == d))",
        "dependsOn names a step that does not exist: name steps of this experiment",
    ),
    no_step(
        f"has(s.modelFrom) && !{_NAMED.format('')}",
        "modelFrom names a step that does not exist: name a train, prune or export step of this experiment",
    ),
    no_step(
        f"has(s.modelFrom) && {_NAMED.format(' && ' + any_of('datasetConvert', 'evaluate', 'inference', of='o'))}",
        "modelFrom names a step that makes no model: name a train, prune or export step",
    ),
    no_step(
        f"has(s.modelFrom) && !{any_of('evaluate', 'inference', of='s')} && {_NAMED.format(' && has(o.export)')}",
        "modelFrom names an export step, whose model only evaluate and inference can read: name a train step",
    ),
    no_step(
        f"{_USES_MODEL} && !has(s.modelFrom) && !has(s.modelPath) && "
        f"!self.steps.exists(j, o, j < i && {_MAKES_MODEL.replace('{}', 'o')})",
        "modelFrom is required, since no train or prune step stands before: put one there, or give modelFrom (a step) "
        "or modelPath (a file)",
        kind="FieldValueRequired",
    ),
    no_step(
        f"{any_of('evaluate', 'inference', 'export', of='s')} && !has(s.modelPath) && (has(s.modelFrom) ? "
        f"{_NAMED.format(' && has(o.prune)')} : self.steps.exists(j, o, j < i && has(o.prune) && "
        f"!self.steps.exists(k, p, j < k && k < i && {_MAKES_MODEL.replace('{}', 'p')})))",
        "the model of a prune step must be retrained before it is used: put a train step between the two, or name "
        "another step with modelFrom",
    ),
    no_step(
        f"{_converts('val', 's')} && {_converted_before('val')}",
        "datasetConvert.split is val in a step before already: at most one step converts the validation set",
    ),
    no_step(
        f"{_READS_RECORDS} && {_file_of_step('trainingFilePattern')} == '' && !{_converted_before('train')}",
        "experiment.dataConfig.trainingFilePattern is required: give it in spec.experiment, or put a datasetConvert "
        "step (split train) before",
        kind="FieldValueRequired",
    ),
    no_step(
        f"{any_of('train', 'evaluate', of='s')} && ({_file_of_step('validationFilePattern')} == '' || "
        f"{_file_of_step('valJsonFile')} == '') && !{_converted_before('val')}",
        "experiment.dataConfig.validationFilePattern and valJsonFile are required: give them in spec.experiment, or "
        "put a datasetConvert step (split val) before",
        kind="FieldValueRequired",
    ),
)
"""Rules at the spec: they look at several steps. A cycle is what CEL cannot find: reconciling says it."""
