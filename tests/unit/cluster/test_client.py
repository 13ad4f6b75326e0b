"""HTTP requests of the client, against a server that records them and sends given responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from maskrcnn_operator.cluster.answers import LONGEST_RETRY_SECONDS
from maskrcnn_operator.cluster.budget import CallPurpose
from maskrcnn_operator.cluster.client import (
    CONDITIONS_MANAGER,
    MOST_EVENT_BYTES,
    MOST_EVENTS,
    PROGRESS_MANAGER,
    STATUS_MANAGER,
    Client,
)
from maskrcnn_operator.cluster.connection import connect
from maskrcnn_operator.cluster.errors import ApiError, TooManyRequests
from maskrcnn_operator.cluster.resources import EVENTS, EXPERIMENTS, JOBS, LEASES

TOKEN = "Bearer of-the-operator"  # noqa: S105 - of a test


ANY_OBJECT = {"metadata": {"name": "x", "uid": "u", "resourceVersion": "1"}}


@dataclass
class Call:
    """Request that a server received."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Wire:
    """Server that sends ``answers`` in turn, then empty objects."""

    calls: list[Call] = field(default_factory=list)
    answers: list[web.Response] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.calls.append(
            Call(request.method, request.path, request.query, request.headers, json.loads(text) if text else None)
        )
        return self.answers.pop(0) if self.answers else web.json_response(ANY_OBJECT)

    @property
    def body(self) -> Any:
        """The body of the only call."""
        [call] = self.calls
        return call.body


async def serving(wire: Wire) -> TestServer:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", wire.answer)
    server = TestServer(application)
    await server.start_server()
    wire.url = str(server.make_url("")).rstrip("/")
    return server


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    found = Wire()
    server = await serving(found)
    yield found
    await server.close()


@pytest.fixture
async def elsewhere() -> AsyncIterator[Wire]:
    """URL of another host."""
    found = Wire()
    server = await serving(found)
    yield found
    await server.close()


class Limit:
    """Rate limiter that records the purpose of each call and the requested waits."""

    def __init__(self) -> None:
        self.purposes: list[CallPurpose] = []
        self.held_back: list[float] = []

    async def acquire(self, purpose: CallPurpose) -> None:
        self.purposes.append(purpose)

    def hold_back(self, seconds: float) -> None:
        self.held_back.append(seconds)


@pytest.fixture
def limit() -> Limit:
    return Limit()


@pytest.fixture
async def client(wire: Wire, limit: Limit) -> AsyncIterator[Client]:
    settings = Configuration(host=wire.url)
    settings.api_key = {"BearerToken": TOKEN}
    found = Client(connect(settings), limit=limit)
    yield found
    await found.close()


async def test_status_write_names_the_version_it_was_computed_from(client: Client, wire: Wire) -> None:
    await client.apply_status("ns", "nuclei", {"restarts": 1}, 17)
    [call] = wire.calls
    assert call.path.endswith("/namespaces/ns/maskrcnnexperiments/nuclei/status")
    assert call.body["metadata"]["resourceVersion"] == "17"
    assert call.body["status"] == {"restarts": 1}
    assert dict(call.query) == {"fieldManager": STATUS_MANAGER, "force": "true", "fieldValidation": "Ignore"}
    assert call.headers["Authorization"] == TOKEN


async def test_conditions_are_patched_without_the_rest_of_the_status(client: Client, wire: Wire) -> None:
    conditions = [{"type": "Stalled", "status": "True"}]
    await client.patch_conditions("ns", "nuclei", conditions, "17")
    [call] = wire.calls
    assert (call.method, call.headers["Content-Type"]) == ("PATCH", "application/merge-patch+json")
    assert call.path.endswith("/maskrcnnexperiments/nuclei/status")
    assert dict(call.query) == {"fieldManager": CONDITIONS_MANAGER, "fieldValidation": "Ignore"}
    assert call.body == {"metadata": {"resourceVersion": "17"}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("progress", "status"), [({"step": "train"}, {"status": {"progress": {"step": "train"}}}), (None, {})]
)
async def test_progress_has_a_field_manager_and_a_share_of_the_calls_of_its_own(
    client: Client, wire: Wire, limit: Limit, progress: dict[str, str] | None, status: dict[str, Any]
) -> None:
    await client.apply_progress("ns", "nuclei", progress)
    [call] = wire.calls
    assert dict(call.query) == {"fieldManager": PROGRESS_MANAGER, "force": "true", "fieldValidation": "Ignore"}
    assert {key: value for key, value in call.body.items() if key == "status"} == status
    assert limit.purposes == [CallPurpose.PROGRESS]


async def test_every_call_waits_for_the_limit_by_its_purpose(client: Client, limit: Limit) -> None:
    await client.get(JOBS, "ns", "job")
    await client.create(EVENTS, "ns", {}, purpose=CallPurpose.EVENT)
    await client.replace(LEASES, "ns", "lease", {}, purpose=CallPurpose.URGENT)
    await client.delete(JOBS, "ns", "job", uid="u")
    await client.apply_status("ns", "nuclei", {}, 1)
    await client.patch_conditions("ns", "nuclei", [], 1)
    await client.token_review("token", "audience")
    assert limit.purposes == [
        CallPurpose.RECONCILE,
        CallPurpose.EVENT,
        CallPurpose.URGENT,
        CallPurpose.RECONCILE,
        CallPurpose.RECONCILE,
        CallPurpose.RECONCILE,
        CallPurpose.REVIEW,
    ]


async def test_deletion_removes_owned_objects_first(client: Client, wire: Wire) -> None:
    """Pods that outlive their Job would run next to those of the next attempt."""
    await client.delete(JOBS, "ns", "job", uid="u")
    assert wire.body["propagationPolicy"] == "Foreground"


@pytest.mark.parametrize(
    ("version", "preconditions"), [(None, {"uid": "u"}), ("17", {"uid": "u", "resourceVersion": "17"})]
)
async def test_deletion_has_preconditions(
    client: Client, wire: Wire, version: str | None, preconditions: dict[str, str]
) -> None:
    await client.delete(EXPERIMENTS, "ns", "nuclei", uid="u", resource_version=version)
    assert wire.body["preconditions"] == preconditions


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "3"}, {}, 3.0),
        ({}, {"details": {"retryAfterSeconds": 4}}, 4.0),
        ({}, {}, 1.0),
        ({"Retry-After": "9" * 400}, {}, LONGEST_RETRY_SECONDS),
        ({}, {"details": {"retryAfterSeconds": 10**400}}, LONGEST_RETRY_SECONDS),
        ({}, {"details": {"retryAfterSeconds": "soon"}}, 1.0),
    ],
)
async def test_too_many_requests_hold_later_calls_back(  # noqa: PLR0917 - pytest passes by name
    client: Client, wire: Wire, limit: Limit, headers: dict[str, str], body: dict[str, Any], seconds: float
) -> None:
    wire.answers = [web.json_response(body, status=429, headers=headers)]
    with pytest.raises(TooManyRequests):
        await client.get(JOBS, "ns", "job")
    assert limit.held_back == [seconds]


async def test_other_errors_hold_no_calls_back(client: Client, wire: Wire, limit: Limit) -> None:
    wire.answers = [web.json_response({}, status=503, headers={"Retry-After": "3"})]
    with pytest.raises(ApiError) as caught:
        await client.get(JOBS, "ns", "job")
    assert (caught.value.status, caught.value.retry_after) == (503, 3.0)
    assert limit.held_back == []


async def test_answer_nested_too_deep_is_an_error_of_its_status(client: Client, wire: Wire) -> None:
    wire.answers = [web.Response(status=500, text="[" * 100_000)]
    with pytest.raises(ApiError) as caught:
        await client.get(JOBS, "ns", "job")
    assert caught.value.status == 500


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed_and_gets_no_token(
    client: Client, wire: Wire, elsewhere: Wire, status: int
) -> None:
    wire.answers = [web.Response(status=status, headers={"Location": f"{elsewhere.url}/stolen"}) for _ in range(2)]
    for call in (client.get(JOBS, "ns", "job"), client.create(JOBS, "ns", {"kind": "Job"})):
        with pytest.raises(ApiError, match="redirected"):
            await call
    assert elsewhere.calls == []
    assert [call.path for call in wire.calls] == [JOBS.path("ns", "job"), JOBS.path("ns")]


async def test_credentials_of_a_netrc_file_are_not_sent(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = Client(connect(Configuration(host=wire.url)))
    await client.get(JOBS, "ns", "job")
    await client.close()
    assert "Authorization" not in wire.calls[0].headers


async def test_events_are_selected_by_the_uid_that_they_are_about(client: Client, wire: Wire, limit: Limit) -> None:
    event = {"reason": "FailedCreate"}
    wire.answers = [
        web.json_response({"metadata": {"resourceVersion": "7"}, "items": items}) for items in ([event], None)
    ]
    assert list(await client.events_about("ns", "job-uid")) == [event]
    assert list(await client.events_about("ns", "job-uid")) == []
    call = wire.calls[0]
    assert (call.method, call.path) == ("GET", "/api/v1/namespaces/ns/events")
    assert dict(call.query) == {"fieldSelector": "involvedObject.uid=job-uid", "limit": str(MOST_EVENTS)}
    assert limit.purposes == [CallPurpose.DIAGNOSIS] * 2


async def test_events_of_a_flood_are_not_read(client: Client, wire: Wire) -> None:
    wire.answers = [web.json_response({"metadata": {}, "items": [{"message": "x" * MOST_EVENT_BYTES}]})]
    with pytest.raises(ApiError, match="larger than"):
        await client.events_about("ns", "job-uid")
