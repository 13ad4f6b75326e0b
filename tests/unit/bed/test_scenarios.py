"""The list of scenarios on nodes: it is complete, and decides order and concurrency."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.e2e_scenarios import outcome_of
from tests.cluster.scenarios import HERE, LIST, Scenario, cluster_tests, next_to_start, read_scenarios, wrong_with

FIRST, SECOND, ALONE = Scenario("a::one"), Scenario("a::two"), Scenario("b::three", alone=True)


def test_list_names_every_scenario_once() -> None:
    assert wrong_with(read_scenarios(LIST.read_text()), cluster_tests(HERE)) == []


def test_each_error_of_a_list_is_reported() -> None:
    scenarios = [FIRST, FIRST, ALONE]
    assert wrong_with(scenarios, ["a::one", "c::four"]) == [
        "c::four is missing",
        "b::three isn't a test",
        "a::one is listed 2 times",
    ]


def test_comments_and_blank_lines_are_ignored() -> None:
    assert read_scenarios("# order\n\na::one\nalone  b::three \n") == [FIRST, ALONE]


def test_scenarios_start_in_their_order_up_to_the_limit() -> None:
    assert next_to_start([FIRST, SECOND], [], 2) == FIRST
    assert next_to_start([SECOND], [FIRST], 2) == SECOND
    assert next_to_start([SECOND], [FIRST], 1) is None
    assert next_to_start([], [FIRST], 2) is None


def test_exclusive_scenario_runs_alone() -> None:
    assert next_to_start([ALONE, SECOND], [FIRST], 4) is None
    assert next_to_start([SECOND], [ALONE], 4) is None
    assert next_to_start([ALONE, SECOND], [], 4) == ALONE


def test_every_form_of_a_test_is_found(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "test_a.py").write_text("async def test_one(): ...\nclass TestMore:\n    def test_two(self): ...\n")
    (tmp_path / "deeper" / "b_test.py").write_text("def test_three(): ...\ndef helper(): ...\n")
    found = cluster_tests(tmp_path)
    assert found == ["deeper/b_test.py::test_three", "test_a.py::test_one", "test_a.py::test_two"]


@pytest.mark.parametrize(
    ("cases", "code", "outcome"),
    [
        ("<testcase/><testcase/>", 0, "passed"),
        ("<testcase/><testcase><skipped/></testcase>", 0, "skipped"),
        ("<testcase/>", 1, "failed"),
        ("", 0, "failed"),
    ],
)
def test_scenario_counts_as_skipped_if_any_of_its_cases_is(tmp_path: Path, cases: str, code: int, outcome: str) -> None:
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert outcome_of(report, code) == outcome
    assert outcome_of(tmp_path / "none.xml", 0) == "failed"
