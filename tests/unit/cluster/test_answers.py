"""Successful responses with unexpected bodies: a page of a load balancer, a list without items, deeply nested JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio.config import ConfigException

from maskrcnn_operator.cluster.answers import UNDECODABLE, decoded
from maskrcnn_operator.cluster.client import Client, _error_of
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.lease import LeaderElection, LeaseTimes
from maskrcnn_operator.cluster.resources import CLAIMS, EXPERIMENTS, JOBS, LEASES, PODS, TOKEN_REVIEWS, Resource
from maskrcnn_operator.cluster.shallow import without_deep_values

HTML = b"<html>502 Bad Gateway</html>"
METADATA = {"name": "x", "uid": "u", "resourceVersion": "1"}
DEADLINE = 10.0
NOT_JSON = [HTML, b"", b"\xff\xfe", b"[" * 100_000, b'{"metadata": ' + b"[" * 100_000, b"9" * 5000]
NO_OBJECT = [b"null", b"[]", b'"yes"', b"1", b"{}", b'{"metadata": []}', b'{"metadata": {"name": "x", "uid": "u"}}']


def body(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("text", NOT_JSON + NO_OBJECT, ids=lambda text: text[:20].decode("latin-1"))
@pytest.mark.parametrize("verb", ["get", "list", "create", "update", "patch", "delete"])
def test_body_that_is_not_an_object_is_an_error(verb: str, text: bytes) -> None:
    with pytest.raises(ApiError) as raised:
        decoded(200, text, verb, JOBS)
    assert (raised.value.status, raised.value.reason) == (200, UNDECODABLE)


@pytest.mark.parametrize(
    "page",
    [
        {"metadata": {}},
        {"items": []},
        {"items": {}, "metadata": {}},
        {"items": [], "metadata": []},
        {"items": [], "metadata": {"resourceVersion": "new"}},
        {"items": [], "metadata": {"resourceVersion": "9" * 5000}},
        {"kind": "Status", "metadata": {}},
    ],
)
def test_a_list_without_its_parts_is_an_error(page: Mapping[str, Any]) -> None:
    with pytest.raises(ApiError) as raised:
        decoded(200, body(page), "list", JOBS)
    assert raised.value.reason == UNDECODABLE


@pytest.mark.parametrize(
    ("verb", "resource", "answer"),
    [
        ("list", JOBS, {"items": [], "metadata": {"resourceVersion": "7", "continue": "x"}}),
        ("list", JOBS, {"items": None, "metadata": {}}),
        ("get", LEASES, {"metadata": METADATA}),
        ("patch", EXPERIMENTS, {"kind": "PartialObjectMetadata", "metadata": METADATA}),
        ("create", TOKEN_REVIEWS, {"status": {"authenticated": True}}),
        ("delete", JOBS, {"kind": "Status", "status": "Success"}),
        ("delete", JOBS, {"metadata": METADATA}),
    ],
)
def test_a_good_answer_is_returned_whole(verb: str, resource: Resource, answer: Mapping[str, Any]) -> None:
    assert decoded(200, body(answer), verb, resource) == answer


def test_the_message_quotes_a_little_of_the_answer_on_one_line() -> None:
    with pytest.raises(ApiError) as raised:
        decoded(200, b"<html>\n\x00\x1b[31mBad\xff" + b"x" * 10_000, "get", JOBS)
    assert "<html>   [31mBad\ufffdxxx" in raised.value.message
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 400


@pytest.mark.parametrize(
    "asked", ["soon", {}, [], -1, 10**400, "9" * 400, float("inf")], ids=lambda asked: str(asked)[:8]
)
def test_very_long_retry_after_is_bounded(asked: object) -> None:
    error = _error_of(429, body({"reason": "TooManyRequests", "details": {"retryAfterSeconds": asked}}), None)
    assert error.status == 429
    assert error.retry_after is None or error.retry_after <= 300


def test_deeply_nested_error_response_is_an_error() -> None:
    assert _error_of(500, b"[" * 100_000, None).status == 500


class OneLease(Client):
    """Client behind a load balancer, with an API server that has one Lease.

    Attributes:
        instead: responses to the next writes, in place of the API server's.
    """

    def __init__(self) -> None:
        super().__init__(SimpleNamespace())  # type: ignore[arg-type]
        self.lease: dict[str, Any] | None = None
        self.instead: list[bytes] = []
        self._version = 0

    async def _exchange(
        self, method: str, path: str, query: object, body: Mapping[str, Any] | None, *_: object, **__: object
    ) -> tuple[int, bytes, float | None]:
        if method != "GET" and self.instead:
            return 200, self.instead.pop(0), None
        if method != "GET":
            assert body is not None
            self._version += 1
            self.lease = {**body, "metadata": {**METADATA, "resourceVersion": str(self._version)}}
        return (404, b"{}", None) if self.lease is None else (200, json.dumps(self.lease).encode(), None)


async def wait(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not until():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("text", [HTML, b"[]", b"[" * 100_000], ids=["page", "array", "deep"])
async def test_leader_survives_an_undecodable_response(text: bytes) -> None:
    client = OneLease()
    election = LeaderElection(client, "ns", "lease", "one", times=LeaseTimes(15.0, 10.0, 0.01))
    running = asyncio.create_task(election.run())
    await wait(lambda: election.held)
    client.instead = [text]
    await wait(lambda: not client.instead)
    assert client.lease is not None
    renewed = client.lease["spec"]["renewTime"]
    await wait(lambda: running.done() or (client.lease or {})["spec"]["renewTime"] != renewed)
    assert not running.done()
    client.instead = [text]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await election.release()


@pytest.mark.parametrize(
    "error", [ConfigException("Token file exists but empty."), ValueError("newline in headers"), OSError("no file")]
)
async def test_a_token_that_cannot_be_read_is_an_error_of_the_call(error: Exception) -> None:
    async def update_params_for_auth(*_: Any) -> None:
        raise error

    configuration = SimpleNamespace(host="https://localhost")
    api = SimpleNamespace(configuration=configuration, update_params_for_auth=update_params_for_auth)
    with pytest.raises(ApiError) as raised:
        await Client(api).get(LEASES, "ns", "lease")  # type: ignore[arg-type]
    assert raised.value.status == 0
    assert str(error) in str(raised.value)


OWNED = b'{"f:a":' * 100_000 + b"{}" + b"}" * 100_000


def deep(resource: Resource, *, spec: bytes = b'{"a": [1, {"b": "}]{["}]}') -> bytes:
    """Return an object whose managedFields are nested too deeply for the parser."""
    kind = f'{{"kind": "{resource.plural}", "metadata": '.encode()
    metadata = body({"managedFields": [{"fieldsV1": "FIELDS"}], "labels": {"a": '"\\"{'}, **METADATA})
    return kind + metadata.replace(b'"FIELDS"', OWNED) + b', "spec": ' + spec + b"}"


@pytest.mark.parametrize("resource", [JOBS, PODS, CLAIMS])
def test_built_in_object_with_deep_managed_fields_is_read_without_them(resource: Resource) -> None:
    answer = decoded(200, deep(resource), "get", resource)
    assert answer["spec"] == {"a": [1, {"b": "}]{["}]}
    assert {**METADATA, "labels": {"a": '"\\"{'}}.items() <= answer["metadata"].items()
    listed = b'{"metadata": {"resourceVersion": "7"}, "items": [' + b",".join([deep(resource)] * 2) + b"]}"
    items = decoded(200, listed, "list", resource)["items"]
    assert [item["spec"] for item in items] == [answer["spec"]] * 2


def test_metadata_of_an_experiment_is_read_without_deep_managed_fields_and_its_spec_never_in_part() -> None:
    answer = decoded(200, deep(EXPERIMENTS), "patch", EXPERIMENTS, metadata_only=True)
    assert METADATA.items() <= answer["metadata"].items()
    for text in (deep(EXPERIMENTS), deep(EXPERIMENTS, spec=OWNED)):
        with pytest.raises(ApiError):
            decoded(200, text, "get", EXPERIMENTS)


@pytest.mark.parametrize(
    ("text", "shallow"),
    [
        (b"1", b"1"),
        (b'{"a": [1, [2], {}], "b": "[["}', b'{"a": [1, null, null], "b": "[["}'),
        (b'{"\\"[{": [[[[]], []], 3]}', b'{"\\"[{": [null, 3]}'),
        (b'{"a": [[', b""),
        (b"]}]", b"]}]"),
        (b'{"a": "[', b'{"a": "['),
    ],
)
def test_values_below_two_levels_are_null(text: bytes, shallow: bytes) -> None:
    assert without_deep_values(text, 2) == shallow
