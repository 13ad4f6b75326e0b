"""Page docs/operations.md: it has each alert and reason, and only permissions, flags, and values that exist."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import yaml
from tests.monitoring import vocabulary

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cli import main

PAGE = vocabulary.OPERATIONS_PAGE.read_text(encoding="utf-8")
RBAC = vocabulary.ROOT / "deploy" / "rbac.yaml"


def section(title: str, level: str = "##") -> str:
    """Return the text below a heading, up to the next one of its level or a higher one."""
    found = re.search(
        rf"^{level} {re.escape(title)}\n(.*?)(?=^#{{2,{len(level)}}} |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in a text, by row, without the headings."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| Reason |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_alerts_and_their_entries_are_the_same() -> None:
    alerts = section("Alerts")
    entries = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^### |\Z)", alerts, re.MULTILINE | re.DOTALL))
    assert list(entries) == [alert["alert"] for alert in vocabulary.alerts()]
    for alert in vocabulary.alerts():
        first, _, more = entries[alert["alert"]].partition(".")
        assert first.split(",")[0].lower() == alert["labels"]["severity"], alert["alert"]
        assert len(more) > 80, f"{alert['alert']}: the entry must explain the alert and name a remedy"


def test_entry_has_the_duration_of_its_alert() -> None:
    words = {"m": "minutes", "h": "a day"}
    for alert in vocabulary.alerts():
        entry = section(alert["alert"], "###")
        waits = str(alert.get("for", ""))
        if waits and "after" in entry.split(".")[0]:
            assert (words["h"] if waits == "24h" else f"{waits[:-1]} {words[waits[-1]]}") in entry.split(".")[0]


def test_every_reason_has_exactly_one_row() -> None:
    found = [cells[0].strip("`") for cells in rows(section("Reasons"))]
    assert Counter(found) == Counter(reason.value for reason in Reason)


def test_row_of_a_reason_has_a_meaning_and_a_remedy() -> None:
    for name, means, do in rows(section("Reasons")):
        assert means.endswith("."), name
        assert do.endswith("."), name


def test_links_of_the_page_and_of_alerts_have_a_target() -> None:
    linked = set(re.findall(r"\]\(#([\w-]+)\)", PAGE))
    assert linked
    assert linked <= vocabulary.anchors(vocabulary.OPERATIONS_PAGE)
    for target in re.findall(r"\]\((?!#|http)([^)#]+)\)", PAGE):
        assert (vocabulary.OPERATIONS_PAGE.parent / target).is_file(), target
    for alert in vocabulary.alerts():
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert anchor in vocabulary.anchors(vocabulary.ROOT / page)


def test_documented_permissions_are_those_of_the_roles() -> None:
    documented = {
        (cells[0].strip("`"), verb)
        for cells in rows(section("What the operator may do", "###"))
        if cells[0].startswith("`")
        for verb in cells[1].split(", ")
    } | {("tokenreviews", "create")}
    granted = {
        (resource, verb)
        for document in yaml.safe_load_all(RBAC.read_text(encoding="utf-8"))
        for rule in document.get("rules", ())
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert documented == granted
    assert "`tokenreviews` (create)" in section("What the operator may do", "###")


def test_flags_on_the_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"`(--(?:lease|experiment|report|metrics|health|namespace|qps|workers)[\w-]*)", PAGE))
    assert named
    with pytest.raises(SystemExit) as ended:
        main(["controller", "--help"])
    assert ended.value.code == 0
    assert named <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


def test_chart_values_on_the_page_exist() -> None:
    values = yaml.safe_load((vocabulary.ROOT / "charts" / "maskrcnn-operator" / "values.yaml").read_text())
    named = [
        name for name in re.findall(r"[`\s]([a-z][A-Za-z]+(?:\.[A-Za-z]+)+)[=`:]", PAGE) if name.split(".")[0] in values
    ]
    assert len(named) > 5
    for name in named:
        found = values
        for key in name.split("."):
            assert key in found, name
            found = found[key]
