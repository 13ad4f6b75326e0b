"""URLs in a manifest: those that are accepted, and the problems of others, which name the field."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.api.problems import ManifestError
from maskrcnn_operator.api.task_kinds import TASK_KINDS
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.url_fields import STEP_URLS

FILE = Path(__file__).resolve().parents[2] / "apiserver" / "manifests" / "accepted" / "inputs-by-url.yaml"
SECRET = "s3cr3t"  # noqa: S105 - stands for a signature


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def problems(value: dict[str, Any]) -> str:
    with pytest.raises(ManifestError) as refused:
        read_manifest(yaml.safe_dump(value))
    return str(refused.value)


def put(spec: dict[str, Any], path: tuple[Any, ...], text: str) -> str:
    """Put a text into the field of the first step whose task has it, and return the field's name."""
    camel = dotted(path).split(".")
    index, step = next(
        (index, step) for index, step in enumerate(spec["steps"]) if camel[0] in step or camel[0] == "modelPath"
    )
    functools.reduce(lambda part, name: part.setdefault(name, {}), camel[:-1], step)[camel[-1]] = text
    return f"spec.steps[{index}].{dotted(path)}"


@pytest.mark.parametrize("path", STEP_URLS, ids=dotted)
@pytest.mark.parametrize(
    "text", ["s3://data//{}", "s3://{}@data/a", "gs://data/a?{}", "az://data/{}#", "s3:/data/a?b={}"]
)
def test_invalid_url_in_a_step_is_refused_without_its_secret(path: tuple[Any, ...], text: str) -> None:
    value = manifest()
    field = put(value["spec"], path, text.format(SECRET))
    found = problems(value)
    assert f"{field}: " in found
    assert SECRET not in found


@pytest.mark.parametrize("name", list(TaskName))
def test_inputs_of_a_task_are_fields_that_take_a_url(name: TaskName) -> None:
    experiment = read_manifest(yaml.safe_dump(manifest()))
    given = [step for step in experiment.spec.steps if step.task_name is name]
    inputs = {field for step in given for field in TASK_KINDS[name].inputs(step.task)}
    known = {dotted(path).removeprefix(f"{name.value}.") for path in STEP_URLS if dotted(path).startswith(name.value)}
    assert inputs == known


def test_problem_of_a_store_names_its_field() -> None:
    value = manifest()
    value["spec"]["objectStores"][1] = {"prefix": "s3://data/", "account": "lab"}
    assert problems(value).startswith("spec.objectStores[1].prefix: an empty, '.', or '..' segment isn't accepted")


@pytest.mark.parametrize(
    ("store", "field"),
    [
        ({"prefix": ["s3://user:s3cr3t@data"]}, "spec.objectStores[0].prefix"),
        (
            {"prefix": "s3://data", "caBundle": f"-----BEGIN PRIVATE KEY-----{SECRET * 20000}"},
            "spec.objectStores[0].caBundle",
        ),
        ({"prefix": "s3://data", "secretRef": {"name": "A"}}, "spec.objectStores[0].secretRef.name"),
        ({"prefix": "s3://data", "secretDir": "/keys"}, "spec.objectStores[0].secretDir"),
        ({}, "spec.objectStores[0].prefix: is required"),
    ],
)
def test_store_of_another_form_is_refused_without_its_secret(store: dict[str, Any], field: str) -> None:
    value = manifest()
    value["spec"]["objectStores"] = [store]
    found = problems(value)
    assert found.startswith(field)
    assert SECRET not in found


@pytest.mark.parametrize("cache", [{}, {"sizeLimit": "1Gi", "persistentVolumeClaim": {"claimName": "a"}}])
def test_cache_is_in_one_place(cache: dict[str, Any]) -> None:
    value = manifest()
    value["spec"]["cache"] = cache
    assert problems(value) == "spec.cache: a cache has exactly one of sizeLimit and persistentVolumeClaim"


@pytest.mark.parametrize("limit", ["0", "0Gi", "500m"])
def test_limit_of_the_cache_is_at_least_a_byte(limit: str) -> None:
    value = manifest()
    value["spec"]["cache"] = {"sizeLimit": limit}
    assert problems(value).startswith(f"spec.cache.sizeLimit: found {limit}; it must be at least 1 byte")


def test_stores_that_no_variable_can_hold_are_refused_with_size_and_limit() -> None:
    value = manifest()
    (bundle,) = [store["caBundle"] for store in value["spec"]["objectStores"] if "caBundle" in store]
    value["spec"]["objectStores"] = [{"prefix": f"s3://data/{n}", "caBundle": bundle * 500} for n in range(2)]
    found = problems(value)
    assert re.match(r"spec\.objectStores: has \d{6} bytes as JSON: at most 98304; shorten", found)


def test_url_as_a_sub_path_is_refused_by_name() -> None:
    value = manifest()
    value["spec"]["workspace"]["subPath"] = f"s3://data/{SECRET}"
    found = problems(value)
    assert found.startswith("spec.workspace.subPath: results are written to a URL with objectStorage")
    assert SECRET not in found
