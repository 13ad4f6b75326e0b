"""Pages of docs/: each alert and reason has an entry; permissions, flags, values, and exit codes are up to date."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.monitoring import vocabulary

from maskrcnn_operator.api.base import API_VERSION, KIND
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cli import main
from maskrcnn_trainer import errors

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
ALERTS = (DOCS / "how-to" / "alerts.md").read_text(encoding="utf-8")
REASONS = (DOCS / "reference" / "reasons.md").read_text(encoding="utf-8")
SECURITY = (DOCS / "explanation" / "security.md").read_text(encoding="utf-8")
GUARANTEES = (DOCS / "explanation" / "guarantees.md").read_text(encoding="utf-8")
EXIT_CODES = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
ALL = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md")))
PATH_IN_CODE = re.compile(r"`((?:docs|tests|operator|trainer|scripts|charts|examples|deploy|\.ci)/[\w./-]*)`")
OF_AN_EXAMPLE = {"trainer/maskrcnn_trainer/quantization/", "tests/unit/core/test_reconcile_quantize.py"}
"""Files that development.md names of a task that was only tried."""


def section(page: str, title: str) -> str:
    """Return the text below a heading of the second level, up to the next one."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, without headings."""
    tables = re.findall(r"^\|.*\|\n\|[-:|]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def test_each_alert_has_its_entry_and_there_is_no_other() -> None:
    entries = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", ALERTS, re.MULTILINE | re.DOTALL))
    assert list(entries) == [alert["alert"] for alert in vocabulary.alerts()]
    for alert in vocabulary.alerts():
        first, _, more = entries[alert["alert"]].partition(".")
        assert first.split(",")[0].lower() == alert["labels"]["severity"], alert["alert"]
        assert len(more) > 80, f"{alert['alert']}: what it means and what to do"


def test_entry_of_an_alert_has_its_delay() -> None:
    words = {"m": "minutes", "h": "a day"}
    for alert in vocabulary.alerts():
        entry = section(ALERTS, alert["alert"])
        waits = str(alert.get("for", ""))
        if waits and "after" in entry.split(".")[0]:
            assert (words["h"] if waits == "24h" else f"{waits[:-1]} {words[waits[-1]]}") in entry.split(".")[0]


def test_runbook_of_each_alert_leads_to_its_entry() -> None:
    for alert in vocabulary.alerts():
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert anchor == alert["alert"].lower()
        assert anchor in vocabulary.anchors(ROOT / page)


def test_panels_that_the_alerts_page_names_are_on_the_dashboard() -> None:
    named = set(re.findall(r'"([A-Z][\w ,]+)"', re.sub(r"`[^`]*`|\([^)]*\)", "", ALERTS)))
    assert len(named) > 3
    assert named <= {panel["title"] for panel in vocabulary.dashboard()["panels"]}


def test_each_reason_has_one_row_with_meaning_and_advice() -> None:
    found = [cells for cells in rows(REASONS) if re.fullmatch(r"`[A-Z]\w+`", cells[0])]
    assert Counter(name.strip("`") for name, *_ in found) == Counter(reason.value for reason in Reason)
    for name, meaning, advice in found:
        assert meaning.endswith("."), name
        assert advice.endswith("."), name


def test_permissions_are_those_that_are_granted() -> None:
    listed = {
        (cells[0].strip("`"), verb)
        for cells in rows(section(SECURITY, "Permissions of the operator"))
        for verb in cells[1].split(", ")
    } | {("tokenreviews", "create")}
    granted = {
        (resource, verb)
        for document in yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text(encoding="utf-8"))
        for rule in document.get("rules", ())
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert listed == granted
    assert "`tokenreviews` (create)" in section(SECURITY, "Permissions of the operator")


def test_flags_that_pages_name_are_the_controllers(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"`(--(?:lease|experiment-metrics|report|metrics|health|namespace|qps|workers)[\w-]*)", ALL))
    assert len(named) > 3
    with pytest.raises(SystemExit) as ended:
        main(["controller", "--help"])
    assert ended.value.code == 0
    # a task has flags with the same beginning
    tasks = {"--report", "--results-dir", "--report-frequency"}
    assert named - tasks <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


def test_values_that_pages_name_are_the_charts() -> None:
    values = yaml.safe_load((ROOT / "charts" / "maskrcnn-operator" / "values.yaml").read_text(encoding="utf-8"))
    named = {
        name
        for name in re.findall(r"`([a-z][A-Za-z]+(?:\.[A-Za-z]+)+)[=`:]", ALL)
        if name.split(".")[0] in values and not name.endswith((".json", ".md"))
    }
    assert len(named) > 5
    for name in named:
        found = values
        for key in name.split("."):
            assert key in found, name
            found = found[key]


def test_exit_codes_are_those_of_the_trainer() -> None:
    listed = {int(cells[0]) for cells in rows(EXIT_CODES) if cells[0].isdecimal()}
    assert listed == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


def test_each_promise_names_a_test_that_exists() -> None:
    promises = rows(section(GUARANTEES, "Promises"))
    assert len(promises) > 8
    for promise, test in promises:
        [target] = re.findall(r"\]\(\.\./\.\./([^)]+)\)", test)
        assert (ROOT / target).exists(), promise


def test_paths_that_pages_name_exist() -> None:
    named = set(PATH_IN_CODE.findall(ALL)) - OF_AN_EXAMPLE
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def experiments_of_pages() -> list[tuple[str, dict[str, Any]]]:
    """Return page and manifest of each experiment in a YAML block; a part of one is completed."""
    found = []
    for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        for text in re.findall(r"^ *```yaml\n(.*?)^ *```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for document in yaml.safe_load_all(text):
                if isinstance(document, dict) and (
                    document.get("kind") == KIND or set(document) in ({"spec"}, {"steps"})
                ):
                    found.append((str(path.relative_to(ROOT)), completed(document)))
    return found


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with a spec of which a page shows a part."""
    if document.get("kind") == KIND:
        return document
    shown = document.get("spec", document)
    experiment = {
        "initLearningRate": 0.01,
        "totalSteps": 1,
        "dataConfig": {"imageSize": [256, 256], "numClasses": 2, "trainingFilePattern": "/workspace/a*"},
    }
    workspace = {"persistentVolumeClaim": {"claimName": "maskrcnn"}}
    spec = {"workspace": workspace, "experiment": experiment, "steps": [{"name": "train", "train": {}}], **shown}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "shown"}, "spec": spec}


@pytest.mark.parametrize(("page", "manifest"), experiments_of_pages())
def test_experiments_that_pages_show_are_valid(page: str, manifest: dict[str, Any]) -> None:
    assert page
    read_object(manifest)


def test_pages_show_experiments() -> None:
    assert len(experiments_of_pages()) > 2
