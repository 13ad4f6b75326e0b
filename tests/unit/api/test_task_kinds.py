"""Every task has an entry in the operator's table and in the trainer's, and both agree."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import maskrcnn_operator
from maskrcnn_operator.api.base import PATH_OR_URL_PATTERN
from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.task_kinds import FILE_FIELDS, TASK_KINDS, Model, TaskKind
from maskrcnn_operator.core.arguments import ProcessPaths, task_arguments
from maskrcnn_operator.core.fields_read import fields_read
from maskrcnn_trainer.cli import build_parser
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.task.arguments import with_hyphens

OPERATOR = Path(maskrcnn_operator.__file__).parent
TABLE = OPERATOR / "api" / "task_kinds.py"
PATHS = ProcessPaths("/results", "/spec.yaml", "/model.tlt", "/dev/termination-log")

Values = dict[tuple[str, ...], tuple[Any, ...]]
"""At least two values for each option, by its path below the task's name."""


def kind_of(name: TaskName) -> TaskKind[Any]:
    assert name in TASK_KINDS, f"task {name.value} has no entry in TASK_KINDS"
    return TASK_KINDS[name]


def options(name: TaskName) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield the path and the JSON schema of every option of a task, including nested options."""
    schema = kind_of(name).options.model_json_schema(by_alias=True)
    waiting = [((field,), part) for field, part in schema.get("properties", {}).items()]
    while waiting:
        path, part = waiting.pop(0)
        if "$ref" in part:
            inner = schema["$defs"][part["$ref"].rpartition("/")[2]]
            waiting += [((*path, field), below) for field, below in inner["properties"].items()]
        else:
            yield path, next((choice for choice in part.get("anyOf", ()) if choice["type"] != "null"), part)


def is_path(schema: Mapping[str, Any]) -> bool:
    return schema.get("pattern") == PATH_OR_URL_PATTERN


def values_of(name: TaskName) -> Values:
    found: Values = {}
    for path, schema in options(name):
        if "enum" in schema:
            found[path] = tuple(schema["enum"])
        elif is_path(schema):
            found[path] = ("/" + "-".join(path), "/other")
        else:
            found[path] = {
                "boolean": (False, True),
                "integer": (2, 3),
                "number": (0.25, 0.75),
                "string": ("one", "two"),
                "array": (["one"], ["one", "two"]),
            }[schema["type"]]
    return found


def experiment_with(name: TaskName, chosen: Mapping[tuple[str, ...], Any]) -> MaskRCNNExperiment:
    task: dict[str, Any] = {}
    for path, value in chosen.items():
        part = task
        for key in path[:-1]:
            part = part.setdefault(key, {})
        part[path[-1]] = value
    config = {"imageSize": [256, 256], "numClasses": 2}
    return read_object(
        {
            "apiVersion": "maskrcnn.dev/v1alpha1",
            "kind": "MaskRCNNExperiment",
            "metadata": {"name": "one"},
            "spec": {
                "workspace": {"persistentVolumeClaim": {"claimName": "w"}},
                "experiment": {
                    "totalSteps": 1,
                    "initLearningRate": 0.01,
                    "trainBatchSize": 1,
                    "dataConfig": config,
                    "maskrcnnConfig": {},
                },
                "steps": [{"name": "only", name.value: task}],
            },
        }
    )


def step_with(name: TaskName, chosen: Mapping[tuple[str, ...], Any]) -> Step:
    return experiment_with(name, chosen).step("only")


def is_choice(name: TaskName, path: tuple[str, ...]) -> bool:
    return "enum" in dict(options(name))[path]


def choices(name: TaskName) -> list[dict[tuple[str, ...], Any]]:
    """Return options of steps that together use every value of every choice."""
    values = values_of(name)
    chosen = [path for path in values if is_choice(name, path)]
    others = {path: found[0] for path, found in values.items() if path not in chosen}
    return [
        others | dict(zip(chosen, combination, strict=True))
        for combination in itertools.product(*(values[path] for path in chosen))
    ]


def varied(name: TaskName) -> Iterator[dict[tuple[str, ...], Any]]:
    """Yield options of such steps, with and without those that are not required."""
    required = set(kind_of(name).options.model_json_schema(by_alias=True).get("required", ()))
    for chosen in choices(name):
        yield chosen
        yield {path: value for path, value in chosen.items() if path[0] in required or is_choice(name, path)}


@pytest.mark.parametrize("name", TaskName)
def test_every_task_has_an_entry_and_a_field_of_the_step(name: TaskName) -> None:
    field = Step.model_fields.get(name.attribute)
    assert field is not None, f"Step has no field {name.attribute}"
    assert field.annotation == kind_of(name).options | None
    assert field.description, f"Step.{name.attribute} has no description"


def test_entries_are_in_the_order_of_the_names() -> None:
    assert list(TASK_KINDS) == [name for name in TaskName if name in TASK_KINDS]


@pytest.mark.parametrize("name", TaskName)
def test_trainer_has_an_entry_for_every_task_of_the_operator(name: TaskName) -> None:
    assert name in TASKS, f"task {name.value} has no entry in the trainer's TASKS"


@pytest.mark.parametrize("name", TaskName)
def test_both_tables_agree_on_the_purposes_of_a_task(name: TaskName) -> None:
    assert kind_of(name).reads_spec is bool(TASKS[name].all_reads)
    read = (kind_of(name).reads_by_option(step_with(name, chosen).task) for chosen in varied(name))
    assert frozenset().union(*read) == TASKS[name].reads_by_option


@pytest.mark.parametrize("name", TaskName)
def test_trainer_takes_every_command_line_of_a_task(name: TaskName) -> None:
    parser = build_parser()
    free = {path: found[-1] for path, found in values_of(name).items() if not is_choice(name, path)}
    for chosen in choices(name):
        for step in (step_with(name, chosen), step_with(name, chosen | free)):
            words = list(task_arguments(step, PATHS))
            assert parser.parse_args(with_hyphens(words)) is not None


@pytest.mark.parametrize("name", TaskName)
def test_every_option_is_an_argument_or_known_to_have_no_effect(name: TaskName) -> None:
    values = values_of(name)
    without_effect = {
        path
        for path, found in values.items()
        if not any(
            len({task_arguments(step_with(name, chosen | {path: value}), PATHS) for value in found}) > 1
            for chosen in choices(name)
        )
    }
    known = {
        (kind_of(name).options.model_fields[field].alias,)
        for chosen in choices(name)
        for field in kind_of(name).without_effect(step_with(name, chosen).task)
    }
    assert without_effect <= known, f"options of {name.value} that no argument depends on"


@pytest.mark.parametrize("name", TaskName)
def test_every_path_among_the_options_is_an_input(name: TaskName) -> None:
    paths = {".".join(path) for path, schema in options(name) if is_path(schema)}
    inputs = {
        field
        for chosen in choices(name)
        for field, path in kind_of(name).inputs(step_with(name, chosen).task).items()
        if path == "/" + field.replace(".", "-")
    }
    assert inputs == paths


@pytest.mark.parametrize("name", TaskName)
def test_flags_of_inputs_and_outputs_are_those_of_the_trainer(name: TaskName) -> None:
    entry = TASKS[name]
    for chosen in varied(name):
        step = step_with(name, chosen)
        words = with_hyphens(task_arguments(step, PATHS))
        read = {PATHS.model_path, *kind_of(name).inputs(step.task).values()}
        for flag, value in itertools.pairwise(words):
            if value.startswith(PATHS.results_dir):
                assert flag in entry.output_flags, f"{name.value} writes to {flag} {value}"
            elif value in read:
                assert flag in entry.input_flags, f"{name.value} reads {flag} {value}"


@pytest.mark.parametrize("name", TaskName)
def test_spec_that_a_task_reads_is_part_of_its_fingerprint(name: TaskName) -> None:
    experiment = experiment_with(name, choices(name)[0])
    spec = experiment.spec.experiment if kind_of(name).reads_spec else None
    found = fields_read(experiment.step("only"), spec)
    assert bool(found) is kind_of(name).reads_spec, f"fields_read of {name.value}: {sorted(found)}"


@pytest.mark.parametrize("name", TaskName)
def test_inputs_of_a_task_can_be_given(name: TaskName) -> None:
    kind = kind_of(name)
    if kind.uses_models:
        assert Model.TRAINED in kind.uses_models, (
            f"{name.value}: messages of the graph advise users to name a train step"
        )
    if kind.model_in_spec or kind.files:
        assert kind.reads_spec, f"{name.value}: its model and its files are fields of the spec"
    if kind.files:
        assert {file for chosen in varied(name) for file in step_with(name, chosen).files} <= set(FILE_FIELDS)


def test_every_task_has_a_running_reason_of_its_own() -> None:
    reasons = [kind.running for kind in TASK_KINDS.values()]
    assert len(set(reasons)) == len(reasons)


def test_only_the_table_compares_tasks() -> None:
    types = "|".join(kind.options.__name__ for kind in TASK_KINDS.values())
    switch = re.compile(rf"\bTaskName\.[A-Z]|\bisinstance\([^)]*\b({types})\b")
    found = [
        f"{file.relative_to(OPERATOR)}:{number}: {line.strip()}"
        for file in sorted(OPERATOR.rglob("*.py"))
        if file != TABLE
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if switch.search(line)
    ]
    assert not found, "put what these lines decide into TASK_KINDS:\n" + "\n".join(found)
