"""Start of an operator, by the namespaces that it may list."""

from __future__ import annotations

import pytest
from tests.unit.cluster.conftest import FakeServer

from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.runtime import operator as module
from maskrcnn_operator.runtime.operator import Operator
from maskrcnn_operator.runtime.options import Options

FORBIDDEN = ApiError(403, "Forbidden", "no")


async def can_run(server: FakeServer, *namespaces: str) -> bool:
    return await Operator(Options(namespaces=namespaces, denied_seconds=0.0))._can_run(server)  # type: ignore[arg-type]


@pytest.mark.parametrize("namespaces", [("team-a", "team-z"), ("team-z", "team-a")])
async def test_one_namespace_that_may_be_listed_is_enough(namespaces: tuple[str, ...]) -> None:
    server = FakeServer()
    server.broken["team-z"] = FORBIDDEN
    assert await can_run(server, *namespaces)


async def test_no_namespace_that_may_be_listed_ends_it() -> None:
    server = FakeServer()
    server.broken = {"team-a": ApiError(401, "Unauthorized", "no"), "team-z": FORBIDDEN, None: FORBIDDEN}
    assert not await can_run(server, "team-a", "team-z")
    assert not await can_run(server)


async def test_resource_that_is_not_served_ends_it() -> None:
    server = FakeServer()
    server.broken["team-a"] = ApiError(404, "NotFound", "no")
    assert not await can_run(server, "team-a", "team-z")


async def test_unavailable_namespace_next_to_a_forbidden_one_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_UNREACHABLE_SECONDS", 0.001)
    server = FakeServer()
    server.broken["team-z"] = FORBIDDEN
    server.fail["list", "maskrcnnexperiments"] = [ApiError(503, "ServiceUnavailable", "no")] * 2
    assert await can_run(server, "team-a", "team-z")
