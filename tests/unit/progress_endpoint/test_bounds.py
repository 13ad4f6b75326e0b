"""Limits on connections of the report endpoint: order of opening, choice of the one to close, deadlines."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_operator.progress_endpoint.bounds import (
    Bounds,
    ConnectionPhase,
    Turn,
    connection_to_refuse,
    deadline,
    next_turn,
)

BOUNDS = Bounds(connections=4, waiting=4)
NOW = 1000.0
LONG_AGO = NOW - BOUNDS.answer_seconds
JUST_NOW = NOW - 0.9 * BOUNDS.idle_seconds


@dataclass(eq=False)
class Connection:
    address: str
    since: float = NOW
    phase: ConnectionPhase = ConnectionPhase.HEAD


def cut_for(newcomer: str, *held: Connection) -> Connection | None:
    """Return the connection that is cut for one of ``newcomer``; None if that must wait."""
    turn = next_turn([Connection(newcomer)], held, NOW, BOUNDS)
    return turn.cut if turn is not None else None


def test_below_the_bound_the_first_one_is_opened_and_none_is_cut() -> None:
    held = [Connection("a", LONG_AGO) for _ in range(3)]
    waiting = [Connection("a"), Connection("b")]
    assert next_turn(waiting, held, NOW, BOUNDS) == Turn(waiting[0], None)
    assert next_turn([], held, NOW, BOUNDS) is None


@pytest.mark.parametrize("newcomer", ["a", "b", "c"])
@pytest.mark.parametrize("phase", [ConnectionPhase.HANDSHAKE, ConnectionPhase.HEAD, ConnectionPhase.CLOSING])
def test_address_with_most_connections_loses_its_oldest_idle_one(newcomer: str, phase: ConnectionPhase) -> None:
    answering = Connection("a", LONG_AGO - 3.0, ConnectionPhase.ANSWER)
    oldest = Connection("a", LONG_AGO - 2.0, phase)
    assert cut_for(newcomer, Connection("a", LONG_AGO), Connection("b", 0.0), oldest, answering) is oldest


@pytest.mark.parametrize("newcomer", ["a", "b"])
def test_a_connection_just_opened_is_spared_while_another_address_holds_an_old_idle_one(newcomer: str) -> None:
    old = Connection("b", LONG_AGO)
    assert cut_for(newcomer, *[Connection("a", JUST_NOW) for _ in range(3)], old) is old


def test_a_connection_that_is_answered_for_long_is_cut_if_none_is_idle() -> None:
    oldest = Connection("a", LONG_AGO, ConnectionPhase.ANSWER)
    others = [Connection("a", LONG_AGO + 1.0, ConnectionPhase.ANSWER) for _ in range(3)]
    assert cut_for("a", *others, oldest) is oldest


@pytest.mark.parametrize("phase", [ConnectionPhase.HANDSHAKE, ConnectionPhase.ANSWER])
def test_an_address_takes_even_a_new_connection_from_one_that_has_more(phase: ConnectionPhase) -> None:
    held = [Connection("a", JUST_NOW + index / 1000, phase) for index in range(4)]
    assert cut_for("b", *held) is held[0]


@pytest.mark.parametrize(
    ("phase", "seconds"), [(ConnectionPhase.HEAD, BOUNDS.idle_seconds), (ConnectionPhase.ANSWER, BOUNDS.answer_seconds)]
)
@pytest.mark.parametrize("addresses", ["aaaa", "bcde", "aabb"])
def test_an_address_waits_until_a_connection_of_an_equal_has_had_its_time(
    phase: ConnectionPhase, seconds: float, addresses: str
) -> None:
    assert cut_for("a", *[Connection(address, NOW - 0.9 * seconds, phase) for address in addresses]) is None
    assert cut_for("a", *[Connection(address, NOW - seconds, phase) for address in addresses]) is not None


def test_waiting_connection_does_not_delay_another_address() -> None:
    held = [Connection("a", JUST_NOW) for _ in range(4)]
    waiting = [Connection("a"), Connection("a"), Connection("b")]
    assert next_turn(waiting, held, NOW, BOUNDS) == Turn(waiting[2], held[0])


def test_the_address_with_most_that_wait_is_refused_its_newest() -> None:
    waiting = [Connection("a", 1.0), Connection("b", 2.0), Connection("a", 3.0), Connection("c", 4.0)]
    assert connection_to_refuse(waiting, BOUNDS) is None
    newest = Connection("a", 4.5)
    assert connection_to_refuse([*waiting, newest, Connection("c", 5.0)], BOUNDS) is newest


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(list(ConnectionPhase)), st.floats(0.0, 0.4)), max_size=60
    )
)
def test_an_address_within_its_fair_share_loses_no_new_connection(
    arrivals: list[tuple[str, ConnectionPhase, float]],
) -> None:
    bounds, now = Bounds(connections=8), 0.0
    held: list[Connection] = []
    for address, phase, pause in arrivals:
        now += pause
        turn = next_turn([Connection(address, now, phase)], held, now, bounds)
        if turn is None:
            continue
        if turn.cut is not None:
            share = Counter(connection.address for connection in held)[turn.cut.address]
            assert now - turn.cut.since >= bounds.idle_seconds or share > bounds.connections / 4
            held.remove(turn.cut)
        held.append(turn.newcomer)
        assert len(held) <= bounds.connections


@pytest.mark.parametrize(
    ("phase", "entered", "expected"),
    [
        (ConnectionPhase.HANDSHAKE, 100.0, 105.0),
        (ConnectionPhase.HEAD, 104.0, 109.0),
        (ConnectionPhase.HEAD, 118.0, 120.0),
        (ConnectionPhase.ANSWER, 104.0, 120.0),
        (ConnectionPhase.CLOSING, 119.0, 120.0),
    ],
)
def test_each_phase_ends_in_time_and_the_last_one_after_20_seconds(
    phase: ConnectionPhase, entered: float, expected: float
) -> None:
    assert math.isclose(deadline(phase, 100.0, entered, Bounds()), expected)


def test_idle_connection_is_cut_before_one_that_is_answered_of_an_address_with_more() -> None:
    idle = Connection("b", LONG_AGO)
    assert cut_for("c", *[Connection("a", LONG_AGO, ConnectionPhase.ANSWER) for _ in range(3)], idle) is idle
