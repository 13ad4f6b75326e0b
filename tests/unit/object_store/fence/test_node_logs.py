"""Logs of other nodes: names that are never used twice, what node 0 names, and what cleaning leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.object_store.fence.memory_store import KEYS

from maskrcnn_trainer.object_store.fence.keys import NUMBERS_PER_NODE
from maskrcnn_trainer.object_store.fence.node_logs import LARGEST_LOG, LogNames, awaited_logs, is_nameable_log
from maskrcnn_trainer.object_store.fence.records import ClaimName, NodeLog

CLAIM = ClaimName(3, "aa")
NOW = 1_800_000_000


def key_of(number: int = 5, *, node: int = 2, epoch: int = 3, writer: str = "aa", start: str = "s") -> str:
    return KEYS.written_once(epoch, writer, node * NUMBERS_PER_NODE + number, f"{start}-log")


def log_of(key: str, size: int = 10) -> NodeLog:
    return NodeLog(key, size, "0" * 64)


def nameable(log: NodeLog, newest: NodeLog | None = None) -> bool:
    return is_nameable_log(log, keys=KEYS, claim=CLAIM, node=2, newest=newest)


def test_names_of_a_node_are_in_its_range_and_rise() -> None:
    first, names = LogNames(KEYS, CLAIM, 2, "s").take("attempt-1.node-2.log", NOW)
    second, _ = names.take("attempt-1.node-2.log", NOW)
    parts = [KEYS.parse(key) for key in (first, second)]
    assert [one and (one.node, one.number - 2 * NUMBERS_PER_NODE) for one in parts] == [(2, NOW), (2, NOW + 1)]


def test_another_start_of_a_node_in_the_same_second_has_other_names() -> None:
    keys = {LogNames(KEYS, CLAIM, 2, start).take("attempt-1.node-2.log", NOW)[0] for start in ("s", "t")}
    assert len(keys) == 2


def test_files_of_node_0_are_in_no_range_of_another_node() -> None:
    parts = KEYS.parse(KEYS.written_once(3, "aa", 1234, "model.tlt"))
    assert parts is not None
    assert parts.node == 0


def test_first_log_is_named() -> None:
    assert nameable(log_of(key_of()))


def test_later_log_is_named() -> None:
    assert nameable(log_of(key_of(6)), log_of(key_of(5)))


@pytest.mark.parametrize(
    "log",
    [
        log_of(key_of(node=0)),
        log_of(key_of(node=1)),
        log_of(key_of(epoch=2)),
        log_of(key_of(writer="bb")),
        log_of(key_of(), size=LARGEST_LOG + 1),
        log_of("exp/other/o/3-aa-200000000005-log"),
        log_of("exp/train/run.json"),
    ],
    ids=["node 0", "another node", "earlier claim", "another start", "too large", "another step", "pointer"],
)
def test_log_that_is_not_one_of_the_node_and_the_claim_is_not_named(log: NodeLog) -> None:
    assert not nameable(log)


@pytest.mark.parametrize("newest", [key_of(5, start="t"), key_of(6)])
def test_log_that_may_be_garbage_already_is_not_named(newest: str) -> None:
    assert not nameable(log_of(key_of(5)), log_of(newest))


def test_log_above_the_named_one_is_awaited() -> None:
    existing = [key_of(number) for number in (4, 5, 6)]
    assert awaited_logs(KEYS, CLAIM, existing, {key_of(5)}) == {key_of(6)}


def test_log_of_a_node_of_which_none_is_named_is_awaited() -> None:
    assert awaited_logs(KEYS, CLAIM, [key_of(4)], {key_of(5, node=1)}) == {key_of(4)}


def test_logs_of_other_claims_and_files_of_node_0_are_not_awaited() -> None:
    existing = [key_of(9, epoch=2), key_of(9, writer="bb"), key_of(9, node=0)]
    assert awaited_logs(KEYS, CLAIM, existing, ()) == frozenset()


def test_named_log_of_an_earlier_claim_replaces_nothing() -> None:
    assert awaited_logs(KEYS, CLAIM, [key_of(4)], {key_of(5, epoch=2)}) == {key_of(4)}


def test_empty_log_is_named() -> None:
    assert nameable(replace(log_of(key_of()), size=0))
