"""The chart as text: lint, golden files, what the schema refuses, and that it gives no more rights than are used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.conftest import CHART, VALUES, Run

from maskrcnn_operator.cli import build_parser
from maskrcnn_operator.jobs.defaults import read_job_defaults

ROOT = CHART.parents[1]
GOLDEN = Path(__file__).with_name("golden")
SETS = sorted(path.stem for path in VALUES.glob("*.yaml"))

Render = Callable[[str], list[dict[str, Any]]]


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def without_large_ones(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Files that the chart only passes on have tests of their own."""
    for item in objects:
        if item["kind"] == "CustomResourceDefinition":
            item["spec"] = "..."
        if item["kind"] == "PrometheusRule":
            item["spec"] = {"groups": [group["name"] for group in item["spec"]["groups"]]}
        if item["metadata"]["name"].endswith("-dashboard"):
            item["data"] = sorted(item["data"])
    return objects


def test_lint(helm: Run) -> None:
    for name in SETS:
        done = helm("lint", "--strict", str(CHART), "-f", str(VALUES / f"{name}.yaml"))
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SETS)
def test_what_is_rendered(render: Render, name: str) -> None:
    """Run with MASKRCNN_WRITE_GOLDEN=1 to write them anew, then read the difference."""
    objects = without_large_ones(render(name))
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("MASKRCNN_WRITE_GOLDEN"):
        file.write_text(yaml.safe_dump_all(objects, sort_keys=False, width=120))
    assert list(yaml.safe_load_all(file.read_text())) == objects


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("replicas=0", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("trainer.imagePullPolicy=Sometimes", "imagePullPolicy"),
        ("replicaCount=2", "replicaCount"),
        ("namespaces={UPPER}", "namespaces"),
        ("metrics.port=70000", "port"),
        ("reports.certManager.duration=soon", "duration"),
        ("logFormat=xml", "logFormat"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(helm: Run, setting: str, words: str) -> None:
    done = helm("template", str(CHART), "--set", setting)
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.parametrize("name", SETS)
def test_the_operator_understands_its_arguments(render: Render, name: str) -> None:
    deployment = named(render(name), "Deployment", "maskrcnn")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    parsed = build_parser().parse_args(container["args"])
    assert parsed.trainer_image
    defaults = named(render(name), "ConfigMap", "maskrcnn-job-defaults")["data"]["job-defaults.yaml"]
    read_job_defaults(defaults, "job-defaults.yaml")


def rules(objects: list[dict[str, Any]], kinds: tuple[str, ...] = ("Role", "ClusterRole")) -> set[tuple[str, ...]]:
    return {
        (group, resource, verb)
        for item in objects
        if item["kind"] in kinds and "aggregat" not in str(item["metadata"].get("labels"))
        for rule in item.get("rules", [])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_rights_are_those_that_are_proven_to_be_used(render: Render) -> None:
    proven = list(yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text()))
    assert rules(render("defaults")) == rules(proven)


def test_with_a_list_of_namespaces_no_right_reaches_beyond_them_but_reviewing_tokens(render: Render) -> None:
    objects = render("namespaced")
    assert rules(objects, ("ClusterRole",)) == {("authentication.k8s.io", "tokenreviews", "create")}
    roles = [item["metadata"]["namespace"] for item in objects if item["kind"] == "Role"]
    assert sorted(roles) == ["maskrcnn-system", "production", "research"]


def test_the_definition_is_that_of_this_tree_and_stays_when_the_chart_goes(render: Render) -> None:
    found = named(render("defaults"), "CustomResourceDefinition", "maskrcnnexperiments.maskrcnn.dev")
    expected = yaml.safe_load((ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml").read_text())
    assert found["spec"] == expected["spec"]
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_versions_are_one() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert chart["version"] == chart["appVersion"]
    assert f'\nversion = "{chart["version"]}"\n' in project
