"""Which steps feed which: data, models and the user's own order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.api.tasks import DatasetConvert, Export
from maskrcnn_trainer.spec.task_name import TaskName

MODEL_MAKERS = frozenset({TaskName.TRAIN, TaskName.PRUNE})
MODEL_USERS = frozenset({TaskName.EVALUATE, TaskName.PRUNE, TaskName.INFERENCE, TaskName.EXPORT})
"""Tasks that take a model with -m; train takes one through its spec."""


class ModelUse(StrEnum):
    """How a step takes the model of another."""

    ARGUMENT = "model"
    PRUNED_MODEL_PATH = "prunedModelPath"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class StepNode:
    """What one step needs.

    Attributes:
        name: the step.
        index: its position in the spec.
        data: the datasetConvert steps that it waits for, in the order of the spec.
        model: the step whose model it takes, or None.
        model_use: how it takes that model, None without one.
        after: the steps that ``dependsOn`` names.
    """

    name: str
    index: int
    data: tuple[str, ...] = ()
    model: str | None = None
    model_use: ModelUse | None = None
    after: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Every step that must have succeeded before this one starts, each once."""
        return tuple(dict.fromkeys((*self.data, *((self.model,) if self.model else ()), *self.after)))


@dataclass(frozen=True)
class StepGraph:
    """The steps in the order of the spec, and what is wrong between them."""

    nodes: Mapping[str, StepNode]
    problems: tuple[Problem, ...] = ()

    def ancestors(self, name: str) -> frozenset[str]:
        """Every step that ``name`` needs, directly or through others."""
        return self._ancestors.get(name, frozenset())

    @cached_property
    def _ancestors(self) -> Mapping[str, frozenset[str]]:
        edges = {node.name: node.needs for node in self.nodes.values()}
        return {name: self._closure(name, edges) for name in edges}

    def _closure(self, name: str, edges: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for other in edges.get(waiting.pop(), ()):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return frozenset(found)

    def topological_order(self) -> tuple[str, ...]:
        """The steps, each after those that it needs; only for a graph without problems."""
        return tuple(TopologicalSorter({node.name: node.needs for node in self.nodes.values()}).static_order())


def build_graph(experiment: MaskRCNNExperiment) -> StepGraph:
    """The graph of an experiment's steps; its problems name the field, nothing is raised."""
    steps = experiment.spec.steps
    problems = list(_name_problems(steps))
    if problems:
        return StepGraph({}, tuple(problems))
    by_name = {step.name: step for step in steps}
    nodes: dict[str, StepNode] = {}
    for index, step in enumerate(steps):
        problems += _size_problems(index, step)
        found = list(_reference_problems(index, step, by_name))
        problems += found
        before = steps[:index]
        model, use = (None, None) if found else _model_of(step, before, by_name)
        nodes[step.name] = StepNode(
            name=step.name,
            index=index,
            data=tuple(other.name for other in before if other.dataset_convert) if _reads_data(step) else (),
            model=model,
            model_use=use,
            after=tuple(name for name in step.depends_on if name in by_name),
        )
        if not found:
            problems += _model_problems(index, step, model, by_name)
    problems += _validation_problems(steps)
    problems += _cycle_problems(nodes)
    return StepGraph(nodes, tuple(problems))


def _name_problems(steps: tuple[Step, ...]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, step in enumerate(steps):
        if step.name in first:
            yield Problem(
                f"spec.steps[{index}].name",
                f"{step.name} is the name of spec.steps[{first[step.name]}] too: every step needs its own",
            )
        first.setdefault(step.name, index)


def _size_problems(index: int, step: Step) -> Iterator[Problem]:
    for name, value in (("nodes", step.nodes), ("processesPerNode", step.processes_per_node or 1)):
        if value > 1 and step.task_name is not TaskName.TRAIN:
            yield Problem(
                f"spec.steps[{index}].{name}",
                f"{value} is for train steps only: leave it out of this step ({step.task_name.value})",
            )


def _reference_problems(  # noqa: C901 - one rule after the other
    index: int, step: Step, by_name: Mapping[str, Step]
) -> Iterator[Problem]:
    field = f"spec.steps[{index}]"
    for position, name in enumerate(step.depends_on):
        if name not in by_name:
            yield Problem(f"{field}.dependsOn[{position}]", f"no step is called {name}; there are {_list(by_name)}")
    if step.model_from is not None and step.model_from not in by_name:
        yield Problem(f"{field}.modelFrom", f"no step is called {step.model_from}; there are {_list(by_name)}")
    if step.model_from is not None and step.model_path is not None:
        yield Problem(f"{field}.modelPath", "modelFrom is given too: one of the two says which model is used")
    if step.task_name is TaskName.DATASET_CONVERT:
        for name, value in (("modelFrom", step.model_from), ("modelPath", step.model_path)):
            if value is not None:
                yield Problem(f"{field}.{name}", "a datasetConvert step uses no model: leave it out")
    if step.task_name is TaskName.TRAIN and step.model_path is not None:
        yield Problem(
            f"{field}.modelPath",
            "a train step takes a file as experiment.checkpoint (weights) or experiment.prunedModelPath (pruned model)",
        )
    if step.task_name is TaskName.TRAIN and step.model_from is not None and step.experiment is not None:
        for attribute, name in (("checkpoint", "checkpoint"), ("pruned_model_path", "prunedModelPath")):
            if getattr(step.experiment, attribute):
                yield Problem(f"{field}.experiment.{name}", "modelFrom says already where the weights come from")


def _model_of(step: Step, before: tuple[Step, ...], by_name: Mapping[str, Step]) -> tuple[str | None, ModelUse | None]:
    nearest = next((other for other in reversed(before) if other.task_name in MODEL_MAKERS), None)
    named = by_name[step.model_from] if step.model_from else None
    if step.task_name in MODEL_USERS:
        maker = None if step.model_path else named or nearest
        return (maker.name, ModelUse.ARGUMENT) if maker else (None, None)
    if step.task_name is TaskName.TRAIN:
        if named:
            use = ModelUse.PRUNED_MODEL_PATH if named.task_name is TaskName.PRUNE else ModelUse.CHECKPOINT
            return named.name, use
        own = step.experiment is not None and bool(getattr(step.experiment, "pruned_model_path", None))
        if nearest and nearest.task_name is TaskName.PRUNE and not own:
            return nearest.name, ModelUse.PRUNED_MODEL_PATH
    return None, None


def _reads_data(step: Step) -> bool:
    task = step.task
    if isinstance(task, Export):
        return task.data_type == "int8" and task.calibration.image_dir is None
    return step.task_name in (TaskName.TRAIN, TaskName.EVALUATE)


def _model_problems(index: int, step: Step, model: str | None, by_name: Mapping[str, Step]) -> Iterator[Problem]:
    field = f"spec.steps[{index}]"
    task = step.task_name
    if task in MODEL_USERS and model is None and step.model_path is None:
        yield Problem(
            f"{field}.modelFrom",
            f"step {step.name} needs a model: no train or prune step stands before it; put one there, or give "
            "modelFrom (a step) or modelPath (a file)",
        )
        return
    if model is None:
        return
    maker = by_name[model].task_name
    where = f"{field}.modelFrom" if step.model_from else field
    if maker not in (TaskName.TRAIN, TaskName.PRUNE, TaskName.EXPORT):
        yield Problem(where, f"step {model} makes no model: name a train, prune or export step")
    elif maker is TaskName.EXPORT and task not in (TaskName.EVALUATE, TaskName.INFERENCE):
        yield Problem(where, f"step {model} exports a model, which {task.value} cannot read: name a train step")
    elif maker is TaskName.PRUNE and task in (TaskName.EVALUATE, TaskName.INFERENCE, TaskName.EXPORT):
        yield Problem(
            where,
            f"step {step.name} would use the pruned model of step {model}, which must be retrained first: put a train "
            "step between the two, or name another with modelFrom",
        )


def _validation_problems(steps: tuple[Step, ...]) -> Iterator[Problem]:
    first: int | None = None
    for index, step in enumerate(steps):
        if isinstance(step.task, DatasetConvert) and step.task.split == "val":
            if first is not None:
                yield Problem(
                    f"spec.steps[{index}].datasetConvert.split",
                    f"step {steps[first].name} converts the val set already: at most one step has split val",
                )
            first = index if first is None else first


def _cycle_problems(nodes: Mapping[str, StepNode]) -> Iterator[Problem]:
    try:
        TopologicalSorter({node.name: node.needs for node in nodes.values()}).prepare()
    except CycleError as error:
        # CycleError lists each step after one that it feeds
        cycle = list(reversed(error.args[1]))
        node = nodes[cycle[0]]
        field = "dependsOn" if cycle[1] in node.after else "modelFrom"
        yield Problem(f"spec.steps[{node.index}].{field}", f"the steps wait for each other: {' needs '.join(cycle)}")


def _list(names: Mapping[str, Step]) -> str:
    return ", ".join(names)
