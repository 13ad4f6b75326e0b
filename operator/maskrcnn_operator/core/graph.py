"""Graph of the steps: which step needs the data or the model of another, or must run after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.step_rules import MIG_PREFIX
from maskrcnn_operator.api.task_kinds import (
    MODEL_MAKERS,
    NEXT_MODEL_MAKERS,
    SEVERAL_PROCESSES,
    TRAINED_MODEL_MAKERS,
    Model,
    a_step_of,
    in_words,
)
from maskrcnn_operator.core.overrides import overrides_of


class ModelUse(StrEnum):
    """Way in which a step gets the model of another step."""

    ARGUMENT = "model"
    PRUNED_MODEL_PATH = "prunedModelPath"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class StepNode:
    """Step in the graph, with the steps that it needs.

    Attributes:
        name: name of the step.
        index: position in the spec, from 0.
        data: steps whose records it needs, in the order of the spec.
        model: step whose model it uses, or None.
        model_use: how it gets that model; None without a model.
        after: steps that ``dependsOn`` names.
    """

    name: str
    index: int
    data: tuple[str, ...] = ()
    model: str | None = None
    model_use: ModelUse | None = None
    after: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Return all steps that must succeed before this one starts, each once."""
        return tuple(dict.fromkeys((*self.data, *((self.model,) if self.model else ()), *self.after)))


@dataclass(frozen=True)
class StepGraph:
    """Steps by name in the order of the spec, and the problems between them."""

    nodes: Mapping[str, StepNode]
    problems: tuple[ManifestProblem, ...] = ()

    def ancestors(self, name: str) -> frozenset[str]:
        """Return all steps that ``name`` needs, directly or indirectly."""
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
        """Return the steps so that each follows those that it needs; only for a graph without problems."""
        return tuple(TopologicalSorter({node.name: node.needs for node in self.nodes.values()}).static_order())


def build_graph(experiment: MaskRCNNExperiment) -> StepGraph:
    """Return the graph of an experiment's steps, with all problems between them; never raises for a spec."""
    steps = experiment.spec.steps
    problems = list(_name_problems(steps))
    if problems:
        return StepGraph({}, tuple(problems))
    by_name = {step.name: step for step in steps}
    nodes: dict[str, StepNode] = {}
    for index, step in enumerate(steps):
        problems += _size_problems(index, step)
        problems += _gpu_problems(index, step, overrides_of(experiment, step).gpu_resource)
        found = list(_reference_problems(index, step, by_name))
        problems += found
        before = steps[:index]
        model, use = (None, None) if found else _model_of(step, before, by_name)
        nodes[step.name] = StepNode(
            name=step.name,
            index=index,
            data=tuple(other.name for other in before if other.records) if step.files else (),
            model=model,
            model_use=use,
            after=tuple(name for name in step.depends_on if name in by_name),
        )
        if not found:
            problems += _model_problems(index, step, model, by_name)
    problems += _validation_problems(steps)
    problems += _cycle_problems(nodes)
    return StepGraph(nodes, tuple(problems))


def _name_problems(steps: tuple[Step, ...]) -> Iterator[ManifestProblem]:
    first: dict[str, int] = {}
    for index, step in enumerate(steps):
        if step.name in first:
            yield ManifestProblem(
                f"spec.steps[{index}].name",
                f"found {step.name}, which is also the name of spec.steps[{first[step.name]}]; names must be unique",
            )
        first.setdefault(step.name, index)


def _size_problems(index: int, step: Step) -> Iterator[ManifestProblem]:
    for name, value in (("nodes", step.nodes), ("processesPerNode", step.processes_per_node or 1)):
        if value > 1 and step.task_name not in SEVERAL_PROCESSES:
            yield ManifestProblem(
                f"spec.steps[{index}].{name}",
                f"found {value}, but only {in_words(SEVERAL_PROCESSES, 'and')} steps can have more than 1; leave it "
                f"out of this {step.task_name.value} step",
            )


def _gpu_problems(index: int, step: Step, resource: str) -> Iterator[ManifestProblem]:
    gpus, processes = step.gpus_per_node, step.processes_per_node or 0
    if processes > gpus > 0:
        yield ManifestProblem(
            f"spec.steps[{index}].processesPerNode",
            f"found {processes}, but gpusPerNode is {gpus}, and two processes can't share a GPU; leave "
            "processesPerNode out",
        )
    if gpus > 1 and resource.startswith(MIG_PREFIX):
        yield ManifestProblem(
            f"spec.steps[{index}].gpusPerNode",
            f"found {gpus}, but a process sees only one MIG instance ({resource}); request 1, with nodes for more",
        )


def _depends_on_steps_that_exist(field: str, step: Step, by_name: Mapping[str, Step]) -> Iterator[ManifestProblem]:
    for position, name in enumerate(step.depends_on):
        if name not in by_name:
            yield ManifestProblem(
                f"{field}.dependsOn[{position}]",
                f"found {name}, but there is no such step; the steps are {_list(by_name)}",
            )


def _takes_its_model_from_a_step_that_exists(
    field: str, step: Step, by_name: Mapping[str, Step]
) -> Iterator[ManifestProblem]:
    if step.model_from is not None and step.model_from not in by_name:
        yield ManifestProblem(
            f"{field}.modelFrom", f"found {step.model_from}, but there is no such step; the steps are {_list(by_name)}"
        )


def _names_one_model(field: str, step: Step, _: Mapping[str, Step]) -> Iterator[ManifestProblem]:
    if step.model_from is not None and step.model_path is not None:
        yield ManifestProblem(f"{field}.modelPath", "modelFrom is also given; leave out one of the two")


def _names_a_model_only_where_one_is_used(field: str, step: Step, _: Mapping[str, Step]) -> Iterator[ManifestProblem]:
    if step.kind.uses_models:
        return
    for name, value in (("modelFrom", step.model_from), ("modelPath", step.model_path)):
        if value is not None:
            yield ManifestProblem(f"{field}.{name}", f"{a_step_of([step.task_name])} uses no model: leave it out")


def _names_a_file_where_its_task_reads_it(field: str, step: Step, _: Mapping[str, Step]) -> Iterator[ManifestProblem]:
    if step.kind.model_in_spec and step.model_path is not None:
        yield ManifestProblem(
            f"{field}.modelPath",
            f"{a_step_of([step.task_name])} takes a file as experiment.checkpoint (weights) or "
            "experiment.prunedModelPath (pruned model)",
        )


def _names_its_weights_once(field: str, step: Step, _: Mapping[str, Step]) -> Iterator[ManifestProblem]:
    if not step.kind.model_in_spec or step.model_from is None or step.experiment is None:
        return
    for attribute, name in (("checkpoint", "checkpoint"), ("pruned_model_path", "prunedModelPath")):
        if getattr(step.experiment, attribute):
            yield ManifestProblem(f"{field}.experiment.{name}", "modelFrom is also given; leave out one of the two")


_REFERENCE_CHECKS = (
    _depends_on_steps_that_exist,
    _takes_its_model_from_a_step_that_exists,
    _names_one_model,
    _names_a_model_only_where_one_is_used,
    _names_a_file_where_its_task_reads_it,
    _names_its_weights_once,
)
"""Checks of the references of one step; problems are reported in this order."""


def _reference_problems(index: int, step: Step, by_name: Mapping[str, Step]) -> Iterator[ManifestProblem]:
    for check in _REFERENCE_CHECKS:
        yield from check(f"spec.steps[{index}]", step, by_name)


def _model_of(step: Step, before: tuple[Step, ...], by_name: Mapping[str, Step]) -> tuple[str | None, ModelUse | None]:
    nearest = next((other for other in reversed(before) if other.kind.makes_next_model), None)
    named = by_name[step.model_from] if step.model_from else None
    if step.kind.needs_model_argument:
        maker = None if step.model_path else named or nearest
        return (maker.name, ModelUse.ARGUMENT) if maker else (None, None)
    if step.kind.model_in_spec:
        if named:
            pruned = named.kind.makes_model is Model.PRUNED
            return named.name, ModelUse.PRUNED_MODEL_PATH if pruned else ModelUse.CHECKPOINT
        own = step.experiment is not None and bool(getattr(step.experiment, "pruned_model_path", None))
        if nearest and nearest.kind.makes_model is Model.PRUNED and not own:
            return nearest.name, ModelUse.PRUNED_MODEL_PATH
    return None, None


def _model_problems(
    index: int, step: Step, model: str | None, by_name: Mapping[str, Step]
) -> Iterator[ManifestProblem]:
    field = f"spec.steps[{index}]"
    if step.kind.needs_model_argument and model is None and step.model_path is None:
        yield ManifestProblem(
            f"{field}.modelFrom",
            f"step {step.name} needs a model, but no {in_words(NEXT_MODEL_MAKERS)} step precedes it; add one before "
            "it, or set modelFrom (a step) or modelPath (a file)",
        )
        return
    if model is None:
        return
    made = by_name[model].kind.makes_model
    where = f"{field}.modelFrom" if step.model_from else field
    if made is None:
        yield ManifestProblem(where, f"step {model} makes no model; name {a_step_of(MODEL_MAKERS)}")
    elif made in step.kind.uses_models:
        return
    elif made is Model.PRUNED:
        yield ManifestProblem(
            where,
            f"step {step.name} would use the pruned model of step {model}, which must be retrained first; add "
            f"{a_step_of(TRAINED_MODEL_MAKERS)} between the two, or name another step with modelFrom",
        )
    else:
        yield ManifestProblem(
            where,
            f"{step.task_name.value} cannot read the exported model of step {model}; name "
            f"{a_step_of(TRAINED_MODEL_MAKERS)}",
        )


def _validation_problems(steps: tuple[Step, ...]) -> Iterator[ManifestProblem]:
    first: int | None = None
    for index, step in enumerate(steps):
        if step.records and step.records.split == "val":
            if first is not None:
                yield ManifestProblem(
                    f"spec.steps[{index}].{step.task_name.value}.split",
                    f"step {steps[first].name} already converts the val set; only one step can have split: val",
                )
            first = index if first is None else first


def _cycle_problems(nodes: Mapping[str, StepNode]) -> Iterator[ManifestProblem]:
    try:
        TopologicalSorter({node.name: node.needs for node in nodes.values()}).prepare()
    except CycleError as error:
        # CycleError lists each step after a step that needs it
        cycle = list(reversed(error.args[1]))
        node = nodes[cycle[0]]
        field = "dependsOn" if cycle[1] in node.after else "modelFrom"
        yield ManifestProblem(
            f"spec.steps[{node.index}].{field}", f"steps wait for each other: {' needs '.join(cycle)}"
        )


def _list(names: Mapping[str, Step]) -> str:
    return ", ".join(names)
