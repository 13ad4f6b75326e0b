"""The list of scenarios on nodes: complete, in order, and what it lets run side by side."""

from __future__ import annotations

from tests.cluster.scenarios import HERE, LIST, Scenario, cluster_tests, next_to_start, read_scenarios, wrong_with

FIRST, SECOND, ALONE = Scenario("a::one"), Scenario("a::two"), Scenario("b::three", alone=True)


def test_the_list_names_every_scenario_once() -> None:
    assert wrong_with(read_scenarios(LIST.read_text()), cluster_tests(HERE)) == []


def test_a_wrong_list_is_refused_with_each_name() -> None:
    scenarios = [FIRST, FIRST, ALONE]
    assert wrong_with(scenarios, ["a::one", "c::four"]) == [
        "c::four is missing",
        "b::three isn't a test",
        "a::one is listed 2 times",
    ]


def test_comments_and_blank_lines_are_no_scenarios() -> None:
    assert read_scenarios("# order\n\na::one\nalone  b::three \n") == [FIRST, ALONE]


def test_scenarios_start_in_their_order_up_to_the_limit() -> None:
    assert next_to_start([FIRST, SECOND], [], 2) == FIRST
    assert next_to_start([SECOND], [FIRST], 2) == SECOND
    assert next_to_start([SECOND], [FIRST], 1) is None
    assert next_to_start([], [FIRST], 2) is None


def test_nothing_runs_beside_a_scenario_that_needs_the_cluster_for_itself() -> None:
    assert next_to_start([ALONE, SECOND], [FIRST], 4) is None
    assert next_to_start([SECOND], [ALONE], 4) is None
    assert next_to_start([ALONE, SECOND], [], 4) == ALONE
