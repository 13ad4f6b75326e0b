"""The table of URLs is complete, and URLs are checked wherever they are taken."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.spec import DataConfig, ExperimentSpec, SpecError, parse_spec
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.named_files import file_fields
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.spec.url_fields import (
    OUTPUT_FLAGS,
    SPEC_URLS,
    URL_FIELDS,
    InputKind,
    flag_problem,
    input_problem,
    output_problem,
)
from maskrcnn_trainer.task.arguments import SPEC_FLAGS

SECRET = "s3cr3t"  # noqa: S105 - stands for a signature


def flags_of(command: str) -> set[str]:
    return {flag for entry in URL_FIELDS for flag in entry.flags.get(command, ())}


@pytest.mark.parametrize("name", list(TaskName))
def test_every_input_flag_of_a_task_is_in_the_table(name: TaskName) -> None:
    assert flags_of(name.command) - set(SPEC_FLAGS) == set(TASKS[name].input_flags)
    assert flags_of(name.command).isdisjoint(OUTPUT_FLAGS[name.command])


def test_spec_of_every_task_that_reads_one_is_in_the_table() -> None:
    readers = {name.command for name, entry in TASKS.items() if entry.all_reads}
    assert {command for command in OUTPUT_FLAGS if set(SPEC_FLAGS) <= flags_of(command)} == readers


def test_every_field_of_the_spec_that_names_files_is_in_the_table() -> None:
    named = {(name,) for name in file_fields(ExperimentSpec)}
    named |= {("data_config", name) for name in file_fields(DataConfig)}
    assert set(SPEC_URLS) == named


def test_no_entry_is_a_field_of_both_a_step_and_the_spec() -> None:
    assert [entry for entry in URL_FIELDS if entry.step and entry.spec] == []
    assert [entry for entry in URL_FIELDS if not (entry.step or entry.spec or entry.flags)] == []


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("s3://data/a.json", InputKind.FILE),
        ("s3://data", InputKind.DIRECTORY),
        ("s3://data", InputKind.FILE_OR_DIRECTORY),
        ("/a?b=c//../x", InputKind.FILE),
        ("relative/a?b=c", InputKind.PATTERNS),
        ("/a/*, s3://data/t-?.tfrecord,gs://data/**,file:///b/*", InputKind.PATTERNS),
        ("s3://data/a*[1]", InputKind.FILE),
    ],
)
def test_valid_url_and_any_path_have_no_problem(value: str, kind: InputKind) -> None:
    assert input_problem(value, kind) is None


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("s3://data", InputKind.FILE, "the URL names a whole bucket: a key must follow it"),
        ("file:///", InputKind.FILE, "the URL names a whole bucket"),
        (f"s3://data/a?{SECRET}", InputKind.DIRECTORY, "a URL with a ?"),
        (f"/a/*, s3://data/t-*?X={SECRET}", InputKind.PATTERNS, "pattern 2 of 2: ? is a wildcard here"),
        (f"s3://{SECRET}@data/*", InputKind.PATTERNS, "user info"),
        ("s3://data", InputKind.PATTERNS, "the URL must have a key or a pattern"),
    ],
)
def test_problem_of_a_url_has_no_part_of_it(value: str, kind: InputKind, message: str) -> None:
    found = input_problem(value, kind)
    assert found is not None
    assert found.startswith(message)
    assert SECRET not in found


def broken(path: tuple[Any, ...], minimal: dict[str, Any]) -> dict[str, Any]:
    fields = {**minimal, "dataConfig": dict(minimal["dataConfig"])}
    part = fields if len(path) == 1 else fields["dataConfig"]
    part[dotted(path[-1:])] = f"s3://data/a#{SECRET}"
    return fields


@pytest.mark.parametrize("path", SPEC_URLS, ids=dotted)
def test_url_of_a_spec_is_checked_in_every_field(path: tuple[Any, ...], minimal: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as refused:
        parse_spec(broken(path, minimal), source="spec.yaml")
    assert str(refused.value).startswith(f"spec.yaml: {dotted(path)}: a URL with a #")
    assert SECRET not in str(refused.value) + repr(refused.value.problems)


def test_valid_urls_of_a_spec_are_kept_as_written(minimal: dict[str, Any]) -> None:
    urls = {"trainingFilePattern": "s3://data/a%20b/t-*,file:///b/*", "valJsonFile": "az://data/val.json"}
    spec = parse_spec({**minimal, "dataConfig": {**minimal["dataConfig"], **urls}, "checkpoint": "gs://m/a.hdf5"})
    assert (spec.data_config.training_file_pattern, spec.data_config.val_json_file) == tuple(urls.values())
    assert spec.checkpoint == "gs://m/a.hdf5"


def test_too_long_url_is_refused_without_its_signature(minimal: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as refused:
        parse_spec({**minimal, "checkpoint": f"s3://data/a?sig={SECRET}{'x' * 5000}"})
    assert "checkpoint" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_url_of_a_tasks_output_names_the_way_to_write_there() -> None:
    problem = flag_problem("dataset_convert", "-o", f"s3://data/{SECRET}")
    assert problem is not None
    assert "set MASKRCNN_RESULTS_DIR to the URL of its step, and start it by maskrcnn launch" in problem
    assert flag_problem("report", "-o", "s3://data/a") == output_problem("s3://data/a")


@pytest.mark.parametrize("value", [f"s3://data/{SECRET}", f"file:///{SECRET}", f"s3:/data/{SECRET}"])
def test_url_of_an_output_is_refused_without_its_text(value: str) -> None:
    problem = output_problem(value)
    assert problem is not None
    assert SECRET not in problem
    assert output_problem(f"/data/{SECRET}") is None


@pytest.mark.parametrize(
    ("command", "flag", "value", "message"),
    [
        ("evaluate", "-m", f"s3://data/m?{SECRET}", "a URL with a ?"),
        ("evaluate", "--results-dir", f"s3://data/{SECRET}", "a task can't write to a URL by itself"),
        ("report", "-r", f"s3://{SECRET}@data/a", "user info"),
        ("report", "-o", f"s3://data/{SECRET}.html", "results can't be written to a URL"),
        ("decrypt", "-m", f"s3://data/{SECRET}", "a URL isn't accepted here"),
        ("spec import", "SPEC", f"s3://data/{SECRET}", "a URL isn't accepted here"),
    ],
)
def test_problem_of_a_flag_has_no_part_of_the_url(command: str, flag: str, value: str, message: str) -> None:
    found = flag_problem(command, flag, value)
    assert found is not None
    assert found.startswith(message)
    assert SECRET not in found


@pytest.mark.parametrize(
    ("flag", "value"),
    [("-m", "s3://data/m.tlt"), ("-e", "gs://data/spec.yaml"), ("-r", "/results"), ("-k", "s3://a?b=c")],
)
def test_valid_value_of_a_flag_has_no_problem(flag: str, value: str) -> None:
    assert flag_problem("evaluate", flag, value) is None
