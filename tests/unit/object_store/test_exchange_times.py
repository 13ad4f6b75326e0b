"""Times of another try and exit codes, with a clock that passes only in waits."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.object_store.clients import AT_ONCE, Clock, client_of, connection_to
from tests.unit.object_store.stub_server import Answer, Seen, etag_of, refusal, serving

from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_TRY_AGAIN, TaskError, TryAgain
from maskrcnn_trainer.object_store import exchange
from maskrcnn_trainer.object_store.client import ObjectInfo, Part, StoreClient
from maskrcnn_trainer.object_store.exchange import StoreRequest
from maskrcnn_trainer.object_store.explanations import Operation

INFO = ObjectInfo("k", 1, etag_of(b"x"))
FORBIDDEN = refusal(403, "AccessDenied")
REFUSALS = {
    "401": Answer(401),
    "403": FORBIDDEN,
    "expired token": refusal(400, "ExpiredToken"),
}
PASSING = {
    "5xx": refusal(500, "InternalError"),
    "throttling": refusal(503, "SlowDown"),
    "reset": Answer(200, cut=0),
}
LATER = 7.0
"""Time of the first failure after a request that was answered."""


@dataclass
class GivenUp:
    """End of a request that fails for ever.

    Attributes:
        error: with which it ended.
        times: of its tries, in seconds since the first.
        sentences: one for each wait.
    """

    error: TaskError
    times: list[float] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def given_up(answer: Answer, directory: Path, *, answered: bool) -> GivenUp:
    """Return how a read ends that always gets one answer, ``answered`` after another request got the right one."""
    clock = Clock()
    times: list[float] = []
    sentences: list[str] = []

    def plan(_: Seen) -> Answer:
        times.append(clock.now)
        return answer

    with serving(b={"k": b"x"}) as server:
        client = StoreClient(
            connection_to(server, directory),
            clock=clock,
            pause=clock.pause,
            jitter=lambda: 1.0,
            on_wait=sentences.append,
        )
        with client:
            if answered:
                assert client.head("k") == INFO
                clock.pause(LATER)
            server.plan = plan
            with pytest.raises(TaskError) as caught:
                client.get_to_file(INFO, directory / "file")
    return GivenUp(caught.value, [time - times[0] for time in times], sentences)


def waits(times: list[float]) -> list[float]:
    return [round(later - earlier, 1) for earlier, later in itertools.pairwise(times)]


def test_forbidden_request_is_retried_for_45_seconds_before_any_answer(tmp_path: Path) -> None:
    found = given_up(FORBIDDEN, tmp_path, answered=False)
    assert (found.error.exit_code, found.error.reason) == (EXIT_INVALID, "StorePermissionDenied")
    assert 45 <= found.times[-1] < 46
    assert waits(found.times)[:4] == [0.2, 0.4, 0.8, 1.6]


@pytest.mark.parametrize("answer", ["401", "expired token"])
def test_other_refusal_is_final_before_any_answer(tmp_path: Path, answer: str) -> None:
    found = given_up(REFUSALS[answer], tmp_path, answered=False)
    assert (found.error.exit_code, found.error.reason) == (EXIT_INVALID, "StoreRefused")
    assert found.times == [0.0]


@pytest.mark.parametrize("answer", REFUSALS)
def test_refusal_after_an_answer_is_retried_with_back_off_for_five_minutes(tmp_path: Path, answer: str) -> None:
    found = given_up(REFUSALS[answer], tmp_path, answered=True)
    assert (found.error.exit_code, found.error.reason) == (EXIT_TRY_AGAIN, "StoreUnavailable")
    assert 300 <= found.times[-1] < 301
    assert waits(found.times)[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0]
    assert len(found.sentences) == len(found.times) - 1


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("answer", PASSING)
def test_failure_of_the_store_is_retried_with_back_off_for_five_minutes(
    tmp_path: Path, answer: str, answered: bool
) -> None:
    found = given_up(PASSING[answer], tmp_path, answered=answered)
    assert (found.error.exit_code, found.error.reason) == (EXIT_TRY_AGAIN, "StoreUnavailable")
    assert 300 <= found.times[-1] < 301
    first = 1.0 if answer == "throttling" else 0.2
    assert waits(found.times)[:3] == [first, 2 * first, 4 * first]


def test_absent_object_is_an_answer_of_the_store(tmp_path: Path) -> None:
    clock = Clock()
    with serving(b={}) as server:
        client = StoreClient(connection_to(server, tmp_path), clock=clock, pause=clock.pause)
        with client:
            assert client.head("absent") is None
            server.plan = lambda _: FORBIDDEN
            with pytest.raises(TaskError) as caught:
                client.head("k")
    assert caught.value.exit_code == EXIT_TRY_AGAIN
    assert 300 <= clock.now < 301


def test_another_attempt_has_no_answer_of_the_store_yet(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server:
        connection = connection_to(server, tmp_path)
        with StoreClient(connection) as client:
            assert client.head("k") == INFO
        server.plan = lambda _: FORBIDDEN
        clock = Clock()
        with StoreClient(connection, clock=clock, pause=clock.pause) as client, pytest.raises(TaskError) as caught:
            client.head("k")
    assert caught.value.exit_code == EXIT_INVALID
    assert 45 <= clock.now < 46


def test_unknown_storage_account_is_looked_up_for_five_minutes(tmp_path: Path) -> None:
    # the name of an account that doesn't exist isn't in the DNS, and neither is one that was made a moment ago
    clock = Clock()
    with serving() as server:
        connection = connection_to(server, tmp_path, "az", endpoint="https://account.blob.invalid")
        with StoreClient(connection, clock=clock, pause=clock.pause) as client, pytest.raises(TaskError) as caught:
            client.head("k")
    assert caught.value.exit_code == EXIT_TRY_AGAIN
    assert "the name of https://account.blob.invalid is unknown; correct the endpoint" in str(caught.value)
    assert "or the account, or the DNS" in str(caught.value)
    assert 300 <= clock.now < 301


def test_refused_upload_ends_within_45_seconds_though_records_were_written(tmp_path: Path) -> None:
    clock = Clock()
    with serving(b={}) as server:
        client = StoreClient(connection_to(server, tmp_path), clock=clock, pause=clock.pause)
        with client:
            client.create("ws/run.json", b"x")
            server.plan = lambda seen: FORBIDDEN if "/o/" in seen.path else None
            with pytest.raises(TaskError) as caught:
                client.overwrite("ws/o/1", b"x")
    assert (caught.value.exit_code, caught.value.reason) == (EXIT_INVALID, "StorePermissionDenied")
    assert 45 <= clock.now < 46


def test_suspended_helper_is_replaced_within_two_minutes(tmp_path: Path) -> None:
    fast = 30.0
    with serving(b={"k": b"x"}) as server:
        client = StoreClient(connection_to(server, tmp_path), clock=lambda: time.monotonic() * fast)
        with client:
            client.head("k")
            helper = client.pid
            assert helper is not None
            os.kill(helper, signal.SIGSTOP)
            began = time.monotonic()
            assert client.head("k") is not None
            assert client.pid != helper
    assert (time.monotonic() - began) * fast < 120


def test_store_that_is_too_slow_is_named_as_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SECONDS_OF_A_SMALL_REQUEST", 0.3)
    answered = threading.Event()

    def wait(_: Seen) -> Answer | None:
        answered.wait(30)
        return None

    with serving(b={"k": b"x"}) as server, StoreClient(connection_to(server, tmp_path), policy=AT_ONCE) as client:
        server.plan = wait
        with pytest.raises(TryAgain, match=f"{server.url} didn't answer in time"):
            client.read("k", 10)
        answered.set()


@pytest.mark.parametrize(("op", "slow"), [("upload", False), ("read", True)])
def test_large_request_waits_for_others_that_move_on(op: str, *, slow: bool) -> None:
    sent = exchange._Sent(StoreRequest(Operation.READ, "k", {"op": op}), exchange._Run(), since=0.0)
    assert sent.is_slow(now=400.0, moved=399.0) is slow


def test_request_that_was_under_way_with_a_slow_one_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "SECONDS_OF_LARGE_REQUESTS", 0.3)
    waits = [True]

    def first_of_slow(seen: Seen) -> Answer | None:
        if seen.path.endswith("/slow") and waits:
            waits.clear()
            time.sleep(2)
        return None

    infos = [ObjectInfo(key, 1, etag_of(b"x")) for key in ("slow", "k")]
    with serving(b={"k": b"x", "slow": b"x"}) as server, client_of(server, tmp_path) as client:
        server.plan = first_of_slow
        parts = [Part(info, tmp_path / info.key, 0, 1) for info in infos]
        assert sorted(part.info.key for part, _ in client.fetch(parts)) == ["k", "slow"]
