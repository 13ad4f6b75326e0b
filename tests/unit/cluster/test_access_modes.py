"""Claims are read seldom, missing ones too, and once for any number of experiments."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.cluster.conftest import FakeServer
from tests.unit.progress_endpoint.conftest import FakeTime

from maskrcnn_operator.cluster.access_modes import KNOWN_SECONDS, AccessModes
from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.errors import ApiError, NotFound, TooManyRequests
from maskrcnn_operator.cluster.optional_reads import FAILED_READ_SECONDS, UNKNOWN_SECONDS
from maskrcnn_operator.cluster.resources import CLAIMS, Resource


class Server(FakeServer):
    """Client that counts its reads; ``gate`` holds responses back."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        self.reads += 1
        await self.gate.wait()
        return await super().get(*arguments, **named)

    def add_claim(self, *modes: str) -> None:
        self.add(CLAIMS, "ns", {"metadata": {"name": "data"}, "spec": {"accessModes": list(modes)}})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def known(server: Server, time: FakeTime) -> AccessModes:
    return AccessModes(server, time.clock)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("modes", "shared"),
    [(["ReadWriteMany"], True), (["ReadWriteOnce", "ReadWriteMany"], True), (["ReadWriteOnce"], False), ([], False)],
)
async def test_modes_of_a_claim_are_read_again_after_five_minutes(
    server: Server, time: FakeTime, known: AccessModes, modes: list[str], shared: bool
) -> None:
    server.add_claim(*modes)
    assert await known.shared("ns", "data") is shared
    server.objects.clear()
    time.seconds += KNOWN_SECONDS - 1
    assert await known.shared("ns", "data") is shared
    assert server.reads == 1
    time.seconds += 1
    assert await known.shared("ns", "data") is None


async def test_many_experiments_on_one_missing_claim_read_it_once_in_half_a_minute(
    server: Server, time: FakeTime, known: AccessModes
) -> None:
    began = time.seconds
    for number in range(1500):
        time.seconds = began + number / 50
        assert await known.shared("ns", "data") is None
    assert server.reads == 1
    assert await known.shared("ns", "other") is None
    assert server.reads == 2


async def test_a_claim_that_is_created_is_noticed_after_half_a_minute(
    server: Server, time: FakeTime, known: AccessModes
) -> None:
    assert await known.shared("ns", "data") is None
    server.add_claim("ReadWriteMany")
    time.seconds += UNKNOWN_SECONDS
    assert await known.shared("ns", "data") is True


@pytest.mark.parametrize(
    "error",
    [
        ApiError(403, "Forbidden", "no"),
        ApiError(401, "Unauthorized", "no"),
        ApiError(500, "InternalError", "the authorizer is down"),
        ApiError(0, "TimeoutError", "no response"),
    ],
    ids=["forbidden", "unauthorized", "failed", "silent"],
)
async def test_claim_that_cannot_be_read_is_requested_once_in_half_a_minute(
    server: Server, time: FakeTime, known: AccessModes, error: ApiError
) -> None:
    server.add_claim("ReadWriteMany")
    server.fail["get", "persistentvolumeclaims"] = [error]
    for _ in range(10):
        assert await known.shared("ns", "data") is None
    assert server.reads == 1
    time.seconds += UNKNOWN_SECONDS
    assert await known.shared("ns", "data") is True


@pytest.mark.parametrize(
    ("error", "has_failed"),
    [
        (ApiError(500, "InternalError", "the authorizer is down"), True),
        (ApiError(0, "TimeoutError", "no response"), True),
        (ApiError(403, "Forbidden", "no"), False),
        (NotFound(404, "NotFound", "no"), False),
    ],
    ids=["failed", "silent", "forbidden", "absent"],
)
async def test_claim_whose_read_failed_is_read_again_soon(
    server: Server, time: FakeTime, known: AccessModes, error: ApiError, *, has_failed: bool
) -> None:
    server.add_claim("ReadWriteMany")
    server.fail["get", "persistentvolumeclaims"] = [error]
    await known.shared("ns", "data")
    assert known.has_failed("ns", "data") is has_failed
    time.seconds += FAILED_READ_SECONDS
    assert await known.shared("ns", "data") is (True if has_failed else None)
    assert not known.has_failed("ns", "data")


async def test_read_that_the_api_server_puts_off_is_tried_again_at_once(server: Server, known: AccessModes) -> None:
    server.add_claim("ReadWriteMany")
    server.fail["get", "persistentvolumeclaims"] = [TooManyRequests(429, "TooManyRequests", "later", 1.0)]
    with pytest.raises(TooManyRequests):
        await known.shared("ns", "data")
    assert await known.shared("ns", "data") is True


@pytest.mark.parametrize("there", [True, False])
async def test_concurrent_callers_share_one_read(server: Server, known: AccessModes, there: bool) -> None:
    if there:
        server.add_claim("ReadWriteMany")
    server.gate.clear()
    asked = [asyncio.create_task(known.shared("ns", "data")) for _ in range(20)]
    await FakeTime.settle()
    server.gate.set()
    assert await asyncio.gather(*asked) == [True if there else None] * 20
    assert server.reads == 1


@pytest.mark.parametrize(
    "claim",
    [
        {},
        {"spec": None},
        {"spec": []},
        {"spec": "ReadWriteMany"},
        {"spec": {}},
        {"spec": {"accessModes": None}},
        {"spec": {"accessModes": "ReadWriteMany"}},
        {"spec": {"accessModes": {"ReadWriteMany": True}}},
        {"spec": {"accessModes": 7}},
        {"spec": {"accessModes": ["ReadWriteMany", None]}},
        {"spec": {"accessModes": [["ReadWriteMany"]]}},
        ApiError(200, UNDECODABLE, "it can't be parsed as JSON (RecursionError)"),
    ],
    ids=str,
)
async def test_unreadable_claim_is_reported_and_its_modes_are_unknown_for_half_a_minute(
    server: Server, time: FakeTime, claim: dict[str, Any] | ApiError
) -> None:
    told: list[tuple[Resource, str, str]] = []
    known = AccessModes(
        server,  # type: ignore[arg-type]
        time.clock,
        on_unreadable=lambda resource, namespace, name, error: told.append((resource, namespace, name)),
    )
    if isinstance(claim, ApiError):
        server.fail["get", "persistentvolumeclaims"] = [claim]
    else:
        server.add(CLAIMS, "ns", {"metadata": {"name": "data"}, **claim})
    for _ in range(3):
        assert await known.shared("ns", "data") is None
    assert told == [(CLAIMS, "ns", "data")]
    server.add_claim("ReadWriteMany")
    time.seconds += UNKNOWN_SECONDS
    assert await known.shared("ns", "data") is True
    assert len(told) == 1
