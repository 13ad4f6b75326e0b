"""Faults of the server and of the helper process, and interruptions, in the middle of transfers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.object_store.clients import AT_ONCE, QUICK, client_of, secret_in
from tests.unit.object_store.stub_server import Answer, Plan, Seen, etag_of, refusal, serving

from maskrcnn_trainer.errors import InvalidInput, Stopped
from maskrcnn_trainer.object_store.client import ObjectInfo, parts_of
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.retries import RetryPolicy

BYTES = bytes(range(256)) * 20_000
INFO = ObjectInfo("k", len(BYTES), etag_of(BYTES))


def first(count: int, answer: Callable[[Seen], Answer]) -> Plan:
    """Return a plan whose first answers are ``answer``."""
    left = list(range(count))

    def plan(seen: Seen) -> Answer | None:
        if not left:
            return None
        left.pop()
        return answer(seen)

    return plan


def headers_of(seen: Seen) -> dict[str, str]:
    """Return the headers of the right answer to a ranged read."""
    return {"ETag": f'"{INFO.etag}"', "Content-Range": f"{seen.headers['range'].replace('=', ' ')}/{len(BYTES)}"}


def begin_of(seen: Seen) -> int:
    """Return the first byte of a ranged read."""
    return int(seen.headers["range"].removeprefix("bytes=").split("-")[0])


@pytest.mark.parametrize(
    "answer",
    [lambda _: refusal(503, "SlowDown"), lambda _: refusal(500, "InternalError"), lambda _: Answer(200, cut=0)],
)
def test_read_is_sent_again_after_failures_of_the_store(tmp_path: Path, answer: Callable[[Seen], Answer]) -> None:
    waits: list[str] = []
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path, on_wait=waits.append) as client:
        server.plan = first(3, answer)
        client.get_to_file(INFO, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == BYTES
        assert len(server.reads()) == 4
        assert len(waits) == 3
        assert waits[0].startswith("s3://b/k: reading failed")


def test_connection_that_is_reset_in_a_body_is_made_again(tmp_path: Path) -> None:
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path) as client:
        server.plan = first(2, lambda seen: Answer(206, BYTES[begin_of(seen) :], headers_of(seen), cut=1_500_000))
        client.get_to_file(INFO, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == BYTES
        assert len(server.reads()) == 3


def test_body_that_is_shorter_than_announced_is_continued_behind_the_last_byte(tmp_path: Path) -> None:
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path) as client:
        server.plan = first(1, lambda seen: Answer(206, BYTES[:3_500_000], headers_of(seen), announced=len(BYTES)))
        client.get_to_file(INFO, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == BYTES
        assert begin_of(server.reads()[1]) >= 1024 * 1024


def test_body_that_is_shorter_than_its_range_is_continued(tmp_path: Path) -> None:
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path) as client:
        server.plan = first(1, lambda seen: Answer(206, BYTES[:10], headers_of(seen)))
        client.get_to_file(INFO, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == BYTES
        assert begin_of(server.reads()[1]) == 10


def test_permission_that_arrives_late_is_used(tmp_path: Path) -> None:
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path) as client:
        server.plan = first(4, lambda _: refusal(403, "AccessDenied"))
        assert client.head("k") == INFO


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "InvalidAccessKeyId"), (401, "Unauthorized"), (404, "XAdminUserNotFound"), (400, "ExpiredToken")],
)
def test_rotated_key_is_read_when_a_request_is_refused(tmp_path: Path, status: int, code: str) -> None:
    waits: list[str] = []

    def rotate(sentence: str) -> None:
        waits.append(sentence)
        secret_in(tmp_path / "s3", "s3", AWS_ACCESS_KEY_ID="NEWKEY", AWS_SECRET_ACCESS_KEY="new")  # noqa: S106 - made up

    def refuse_the_old_key(seen: Seen) -> Answer | None:
        return None if "NEWKEY" in seen.headers["authorization"] else refusal(status, code)

    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path, policy=QUICK, on_wait=rotate) as client:
        assert client.head("k") == INFO
        server.plan = refuse_the_old_key
        assert client.head("k") == INFO
    assert len(waits) == 1


def test_killed_helper_is_started_again_and_the_read_continues(tmp_path: Path) -> None:
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path) as client:
        killed: list[int] = []

        def kill_once(_part: object, _start: int, _end: int) -> None:
            if not killed:
                assert client.pid
                killed.append(client.pid)
                os.kill(client.pid, signal.SIGKILL)

        client.get_to_file(INFO, tmp_path / "file", on_bytes=kill_once)
        assert (tmp_path / "file").read_bytes() == BYTES
        assert client.head("k") == INFO
        assert client.pid not in (None, killed[0])


def test_stop_ends_a_read_and_its_helper(tmp_path: Path) -> None:
    stopped: list[bool] = []
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path, stop=lambda: bool(stopped)) as client:
        with pytest.raises(Stopped):
            client.get_to_file(INFO, tmp_path / "file", on_bytes=lambda *_: stopped.append(True))
        assert client.pid is None
        stopped.clear()
        assert client.head("k") == INFO


def test_stop_ends_a_wait(tmp_path: Path) -> None:
    waits: list[str] = []
    slow = RetryPolicy(first_wait=1000.0, throttled_wait=1000.0, longest_wait=1000.0, limit=5000.0)
    with serving(b={}) as server:
        server.plan = lambda _: refusal(503, "SlowDown")
        client = client_of(server, tmp_path, policy=slow, stop=lambda: bool(waits), on_wait=waits.append)
        with client, pytest.raises(Stopped):
            client.head("k")


def test_iterator_that_is_closed_early_ends_what_is_under_way(tmp_path: Path) -> None:
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path, concurrency=2) as client:
        parts = parts_of(INFO, tmp_path / "file", part_bytes=500_000)
        reading = client.fetch(parts)
        assert next(reading)[1] is ReadOutcome.DONE
        reading.close()
        assert client.head("k") == INFO
        assert len(server.reads()) < len(parts)


def test_throttled_store_gets_no_more_requests_than_the_limit_at_once(tmp_path: Path) -> None:
    policy = RetryPolicy(first_wait=1000.0, throttled_wait=1000.0, longest_wait=1000.0, limit=5000.0)
    waits: list[str] = []
    with serving(b={}) as server:
        server.plan = lambda _: refusal(503, "SlowDown")
        client = client_of(
            server, tmp_path, policy=policy, concurrency=4, on_wait=waits.append, stop=lambda: len(waits) >= 4
        )
        with client, pytest.raises(Stopped):
            list(client.fetch(parts_of(ObjectInfo(f"k{n}", 1, ""), tmp_path / "f")[0] for n in range(50)))
        assert len(server.seen) == 4


def test_object_exists_or_not_without_reading_it(tmp_path: Path) -> None:
    with serving(b={"k": b"x" * 1000}) as server, client_of(server, tmp_path) as client:
        assert (client.exists("k"), client.exists("absent")) == (True, False)
        assert [(seen.method, seen.path) for seen in server.seen] == [("GET", "/b/k"), ("GET", "/b/absent")]


def test_refused_look_up_means_absent_and_is_not_tried_again(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        server.plan = lambda _: refusal(403, "AccessDenied")
        assert not client.exists("k")
        assert len(server.seen) == 1


def test_refused_look_up_does_not_show_that_a_read_was_permitted(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path, policy=AT_ONCE) as client:
        server.plan = lambda _: refusal(403, "AccessDenied")
        client.exists("k")
        # a refusal of what was permitted before is tried again (75)
        with pytest.raises(InvalidInput):
            client.get_to_file(ObjectInfo("k", 1, etag_of(b"x")), tmp_path / "file")
