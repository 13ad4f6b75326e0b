"""The types refuse the manifests that the API server refuses; those that it accepts are valid or refused later."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.unit.api.schema_parts import walk

from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.api.problems import ManifestError, ManifestProblem
from maskrcnn_operator.api.rules import FIELD_RULES, PATTERN_RULES, TYPE_RULES
from maskrcnn_operator.api.schema import definitions, written_out
from maskrcnn_operator.api.step_rules import RULES_OF_THE_GRAPH
from maskrcnn_operator.core.desired import resolve

FOLDER = Path(__file__).resolve().parents[2] / "apiserver" / "manifests"
ACCEPTED = sorted((FOLDER / "accepted").glob("*.yaml"))
REFUSED = sorted((FOLDER / "refused").glob("*.yaml"))
STALLED = sorted((FOLDER / "stalled").glob("*.yaml"))


def problems(text: str) -> list[ManifestProblem]:
    """Return the problems of a manifest that this release finds."""
    try:
        experiment = read_manifest(text)
    except ManifestError as error:
        return list(error.problems)
    return list(resolve(experiment).problems)


def test_there_are_manifests() -> None:
    assert len(ACCEPTED) >= 5
    assert len(REFUSED) >= 60
    assert len(STALLED) >= len(RULES_OF_THE_GRAPH)


@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_accepted(file: Path) -> None:
    assert problems(file.read_text()) == []


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_refused(file: Path) -> None:
    assert problems(file.read_text()), "the API server refuses it, but the operator would run it"


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_refused_manifest_has_its_expected_message(file: Path) -> None:
    assert file.read_text().startswith("# refused: ")


@pytest.mark.parametrize("file", STALLED, ids=lambda file: file.stem)
def test_problem_found_at_reconciliation_names_the_field(file: Path) -> None:
    expected = re.findall(r"(?m)^# stalled: (spec\..*)$", file.read_text())
    assert expected
    assert [str(problem) for problem in problems(file.read_text())] == expected


def test_every_field_of_the_spec_is_in_an_accepted_manifest() -> None:
    given: set[str] = set()

    def collect(value: object, path: str) -> None:
        given.add(path)
        if isinstance(value, dict):
            for key, item in value.items():
                collect(item, f"{path}.{key}")
        elif isinstance(value, list):
            for item in value:
                collect(item, f"{path}[]")

    for file in ACCEPTED:
        collect(yaml.safe_load(file.read_text())["spec"], "spec")
    known = [path for path, _ in walk(written_out(definitions(), "ExperimentBody"), "spec") if not path.endswith("{}")]
    whole = [path for path in known if not path.startswith("spec.steps[].experiment.")]
    assert [path for path in whole if path not in given] == []


def test_every_rule_has_a_manifest_that_breaks_it() -> None:
    expected = [line for file in REFUSED for line in re.findall(r"(?m)^# refused: (.*)$", file.read_text())]
    expected = [
        re.sub(r"^step [a-z-]+: ", "", line) for line in expected if " " in line
    ]  # without the name of the step
    every = [rule for kind in (TYPE_RULES, FIELD_RULES) for rules in kind.values() for rule in rules]
    every += PATTERN_RULES.values()
    while_running = [rule for rule in every if "oldSelf" in rule.expression and not rule.reads_older]
    assert len(while_running) == 3  # tested with edits on the API server
    for rule in every:
        told = [text for text in re.findall(r"'([^']*)'", rule.message_expression) if len(text) > 12]
        said = any(line in rule.message or any(text in line for text in told) for line in expected)
        assert said or rule in while_running, rule.message
