"""Full lists, the claim's modes, the rate limit and what is made of answers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.unit.cluster.conftest import FakeServer

from maskrcnn_operator.cluster.access_modes import AccessModes
from maskrcnn_operator.cluster.cache import Cache, Key
from maskrcnn_operator.cluster.client import _error_of
from maskrcnn_operator.cluster.errors import ApiError, Conflict, Gone, NotFound, TooManyRequests
from maskrcnn_operator.cluster.listing import list_all
from maskrcnn_operator.cluster.rate_limit import RateLimit
from maskrcnn_operator.cluster.resources import CLAIMS, EXPERIMENTS, JOBS, LEASES, TOKEN_REVIEWS


async def test_a_list_makes_the_cache_whole(server: FakeServer, experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    for number in range(5):
        named = {**experiment_object, "metadata": {"name": f"e{number}", "generation": 1}}
        server.add(EXPERIMENTS, "ns", named)
    gone = server.add(EXPERIMENTS, "ns", {**experiment_object, "metadata": {"name": "gone", "generation": 1}})
    cache.put(EXPERIMENTS, server.objects.pop(("maskrcnnexperiments", "ns", "gone")))
    assert not cache.listed
    changed = await list_all(server, cache, [None])  # type: ignore[arg-type]
    assert changed == {Key("ns", name) for name in ("e0", "e1", "e2", "e3", "e4", "gone")}
    assert gone["metadata"]["uid"] not in {found.metadata.uid for found in cache.experiments()}
    assert cache.listed
    assert cache.last_listed is not None
    assert await list_all(server, cache, ["ns"]) == set()  # type: ignore[arg-type]


async def test_pages_that_have_gone_are_read_anew(server: FakeServer, experiment_object: dict[str, Any]) -> None:
    cache = Cache()
    for number in range(5):
        server.add(EXPERIMENTS, "ns", {**experiment_object, "metadata": {"name": f"e{number}", "generation": 1}})
    server.fail["continue", "maskrcnnexperiments"] = [Gone(410, "Expired", "too old")]
    await list_all(server, cache, [None])  # type: ignore[arg-type]
    assert len(cache.experiments()) == 5


async def test_a_list_that_fails_says_so_and_the_cache_stays(
    server: FakeServer, experiment_object: dict[str, Any]
) -> None:
    cache = Cache()
    server.add(EXPERIMENTS, "ns", experiment_object)
    server.fail["list", "pods"] = [ApiError(500, "InternalError", "no")]
    with pytest.raises(ApiError):
        await list_all(server, cache, [None])  # type: ignore[arg-type]
    assert not cache.listed
    assert len(cache.experiments()) == 1


@pytest.mark.parametrize(
    ("modes", "shared"),
    [(["ReadWriteMany"], True), (["ReadWriteOnce", "ReadWriteMany"], True), (["ReadWriteOnce"], False), ([], False)],
)
async def test_a_claim_is_shared_by_its_modes(server: FakeServer, modes: list[str], shared: bool) -> None:
    server.add(CLAIMS, "ns", {"metadata": {"name": "data"}, "spec": {"accessModes": modes}})
    known = AccessModes(server)  # type: ignore[arg-type]
    assert await known.shared("ns", "data") is shared
    # what is known is not asked for again
    server.objects.clear()
    assert await known.shared("ns", "data") is shared


async def test_a_claim_that_is_not_there_is_asked_for_again(server: FakeServer) -> None:
    known = AccessModes(server)  # type: ignore[arg-type]
    assert await known.shared("ns", "data") is None
    server.fail["get", "persistentvolumeclaims"] = [
        ApiError(403, "Forbidden", "no"),
        ApiError(500, "InternalError", "no"),
    ]
    assert await known.shared("ns", "data") is None
    with pytest.raises(ApiError):
        await known.shared("ns", "data")
    server.add(CLAIMS, "ns", {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteMany"]}})
    assert await known.shared("ns", "data") is True


async def test_a_burst_goes_at_once_and_the_rest_evenly() -> None:
    limit = RateLimit(qps=100.0, burst=10)
    began = time.monotonic()
    for _ in range(10):
        await limit.acquire()
    burst = time.monotonic() - began
    for _ in range(20):
        await limit.acquire()
    whole = time.monotonic() - began
    assert burst < whole
    assert whole >= 0.19


async def test_no_limit_waits_for_nothing() -> None:
    limit = RateLimit(qps=0, burst=1)
    for _ in range(10_000):
        await asyncio.wait_for(limit.acquire(), 10)


async def test_a_server_that_asks_to_wait_is_heard() -> None:
    limit = RateLimit(qps=0, burst=1)
    limit.hold_back(0.2)
    began = time.monotonic()
    await limit.acquire()
    assert time.monotonic() - began >= 0.19


def test_paths() -> None:
    assert (
        EXPERIMENTS.path("ns", "x", "status")
        == "/apis/maskrcnn.dev/v1alpha1/namespaces/ns/maskrcnnexperiments/x/status"
    )
    assert EXPERIMENTS.path() == "/apis/maskrcnn.dev/v1alpha1/maskrcnnexperiments"
    assert JOBS.path("ns") == "/apis/batch/v1/namespaces/ns/jobs"
    assert CLAIMS.path("ns", "data") == "/api/v1/namespaces/ns/persistentvolumeclaims/data"
    assert LEASES.path("ns", "x") == "/apis/coordination.k8s.io/v1/namespaces/ns/leases/x"
    assert TOKEN_REVIEWS.path() == "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (409, Conflict), (410, Gone), (429, TooManyRequests), (500, ApiError)]
)
def test_an_answer_is_an_error_of_its_kind(status: int, kind: type[ApiError]) -> None:
    error = _error_of(status, b'{"reason": "Word", "message": "said", "details": {"retryAfterSeconds": 3}}', None)
    assert type(error) is kind
    assert (error.status, error.reason, error.message, error.retry_after) == (status, "Word", "said", 3)
    assert str(error) == f"{status} Word: said"


def test_an_answer_that_is_no_json_is_an_error_all_the_same() -> None:
    error = _error_of(502, b"<html>bad gateway</html>", 7.0)
    assert (error.status, error.retry_after) == (502, 7.0)
    assert "bad gateway" in error.message
