"""Namespaces are read seldom, and once for many experiments, but never taken for one of the same name."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from tests.unit.cluster.conftest import EXPERIMENT, FakeServer
from tests.unit.progress_endpoint.conftest import FakeTime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.errors import ApiError, TooManyRequests
from maskrcnn_operator.cluster.namespace_owners import KNOWN_OWNER_SECONDS, NamespaceOwners
from maskrcnn_operator.cluster.optional_reads import FAILED_READ_SECONDS, UNKNOWN_SECONDS
from maskrcnn_operator.cluster.resources import EXPERIMENTS, NAMESPACES, Resource


class Server(FakeServer):
    """Client that counts its reads; ``gate`` holds responses back."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        self.count += 1
        found = await super().get(*arguments, **named)
        await self.gate.wait()
        return found

    def add_namespace(self, uid: object, name: str = "ns") -> None:
        self.add(NAMESPACES, "", {"metadata": {"name": name, "uid": uid}})


class Stage:
    """Owners, and the experiments that the operator knows."""

    def __init__(self, owner_id: str | None = None) -> None:
        self.server, self.cache, self.time = Server(), Cache(), FakeTime()
        self.reports: list[tuple[Resource, str, str]] = []
        self.owners = NamespaceOwners(
            self.server,  # type: ignore[arg-type]
            self.cache,
            owner_id,
            self.time.clock,
            on_unreadable=lambda resource, namespace, name, _: self.reports.append((resource, namespace, name)),
        )

    def experiment(self, name: str = "nuclei", namespace: str = "ns", *, known: bool = True) -> MaskRCNNExperiment:
        """Return an experiment with a uid of its own; ``known``: the operator has it in its cache."""
        manifest = copy.deepcopy(EXPERIMENT)
        manifest["metadata"] |= {"name": name, "uid": f"uid-of-{name}-in-{namespace}"}
        stored = self.server.add(EXPERIMENTS, namespace, manifest)
        if known:
            self.cache.put(EXPERIMENTS, stored)
        return read_object(stored)

    def delete(self, name: str, namespace: str = "ns") -> None:
        """Remove an experiment, of which the operator learns by its watch."""
        self.cache.drop(EXPERIMENTS, f"uid-of-{name}-in-{namespace}")


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_owner_is_the_uid_of_the_experiments_namespace(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    stage.server.add_namespace("3-4", "other")
    assert await stage.owners.owner_of(stage.experiment()) == "1-2"
    assert await stage.owners.owner_of(stage.experiment(namespace="other")) == "3-4"


async def test_owner_of_the_installation_counts_in_all_namespaces_and_nothing_is_read() -> None:
    stage = Stage("fleet")
    assert await stage.owners.owner_of(stage.experiment()) == "fleet"
    assert await stage.owners.owner_of(stage.experiment(namespace="other")) == "fleet"
    assert stage.server.count == 0


async def test_one_read_is_enough_for_an_experiment(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    experiment = stage.experiment()
    for _ in range(5):
        assert await stage.owners.owner_of(experiment) == "1-2"
        stage.time.seconds += 3600
    assert stage.server.count == 1


async def test_one_read_a_minute_is_enough_for_new_experiments(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    for number in range(20):
        assert await stage.owners.owner_of(stage.experiment(f"e{number}")) == "1-2"
        stage.time.seconds += KNOWN_OWNER_SECONDS / 10
    assert stage.server.count == 2


async def test_read_for_a_new_experiment_counts_for_those_before(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    before = stage.experiment("before")
    assert await stage.owners.owner_of(before) == "1-2"
    stage.time.seconds += KNOWN_OWNER_SECONDS
    assert await stage.owners.owner_of(stage.experiment("after")) == "1-2"
    stage.time.seconds += KNOWN_OWNER_SECONDS
    assert await stage.owners.owner_of(before) == "1-2"
    assert stage.server.count == 2


async def test_uid_counts_for_a_new_experiment_as_long_as_any_before_it_exists(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    for number in range(20):
        assert await stage.owners.owner_of(stage.experiment(f"e{number}")) == "1-2"
        if number:
            stage.delete(f"e{number - 1}")
    assert stage.server.count == 1


async def test_experiment_of_a_namespace_that_was_created_again_has_the_new_uid(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    assert await stage.owners.owner_of(stage.experiment("before")) == "1-2"
    stage.delete("before")
    stage.server.add_namespace("3-4")
    assert await stage.owners.owner_of(stage.experiment("after")) == "3-4"


async def test_uid_is_read_again_after_a_minute_even_if_a_deletion_was_missed(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    assert await stage.owners.owner_of(stage.experiment("before")) == "1-2"
    stage.server.add_namespace("3-4")
    stage.time.seconds += KNOWN_OWNER_SECONDS
    assert await stage.owners.owner_of(stage.experiment("after")) == "3-4"


async def test_experiments_of_the_namespace_before_do_not_count_for_its_new_uid(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    before = stage.experiment("before")
    assert await stage.owners.owner_of(before) == "1-2"
    stage.server.add_namespace("3-4")
    stage.time.seconds += KNOWN_OWNER_SECONDS
    after = stage.experiment("after", known=False)
    assert await stage.owners.owner_of(after) == "3-4"
    stage.server.add_namespace("5-6")
    assert await stage.owners.owner_of(stage.experiment("later")) == "5-6"


async def test_read_that_began_before_an_experiment_was_known_does_not_count_for_it(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    stage.server.gate.clear()
    first = asyncio.create_task(stage.owners.owner_of(stage.experiment("before")))
    await FakeTime.settle()
    stage.delete("before")
    stage.server.add_namespace("3-4")
    second = asyncio.create_task(stage.owners.owner_of(stage.experiment("after")))
    await FakeTime.settle()
    stage.server.gate.set()
    assert list(await asyncio.gather(first, second)) == ["1-2", "3-4"]


async def test_concurrent_callers_share_one_read(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    experiments = [stage.experiment(f"e{number}") for number in range(20)]
    stage.server.gate.clear()
    owners = [asyncio.create_task(stage.owners.owner_of(experiment)) for experiment in experiments]
    await FakeTime.settle()
    stage.server.gate.set()
    assert await asyncio.gather(*owners) == ["1-2"] * 20
    assert stage.server.count == 1


async def test_experiment_that_has_left_the_cache_has_an_owner(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    assert await stage.owners.owner_of(stage.experiment(known=False)) == "1-2"


@pytest.mark.parametrize(
    "error",
    [
        ApiError(403, "Forbidden", "no"),
        ApiError(401, "Unauthorized", "no"),
        ApiError(500, "InternalError", "the authorizer is down"),
        ApiError(0, "TimeoutError", "no response"),
        None,
    ],
    ids=["forbidden", "unauthorized", "failed", "silent", "absent"],
)
async def test_namespace_that_cannot_be_read_is_requested_once_in_half_a_minute(
    stage: Stage, error: ApiError | None
) -> None:
    if error is not None:
        stage.server.add_namespace("1-2")
        stage.server.fail["get", "namespaces"] = [error]
    for number in range(10):
        assert await stage.owners.owner_of(stage.experiment(f"e{number}")) is None
    assert stage.server.count == 1
    stage.server.add_namespace("1-2")
    stage.time.seconds += UNKNOWN_SECONDS
    assert await stage.owners.owner_of(stage.experiment()) == "1-2"


@pytest.mark.parametrize(
    ("error", "has_failed"),
    [(ApiError(500, "InternalError", "the authorizer is down"), True), (ApiError(403, "Forbidden", "no"), False)],
    ids=["failed", "forbidden"],
)
async def test_namespace_whose_read_failed_is_read_again_soon(
    stage: Stage, error: ApiError, *, has_failed: bool
) -> None:
    stage.server.add_namespace("1-2")
    stage.server.fail["get", "namespaces"] = [error]
    experiment = stage.experiment()
    await stage.owners.owner_of(experiment)
    assert stage.owners.has_failed("ns") is has_failed
    stage.time.seconds += FAILED_READ_SECONDS
    assert await stage.owners.owner_of(experiment) == ("1-2" if has_failed else None)
    assert not stage.owners.has_failed("ns")


async def test_failed_read_for_a_new_experiment_changes_nothing_for_those_before(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    before = stage.experiment("before")
    assert await stage.owners.owner_of(before) == "1-2"
    stage.time.seconds += KNOWN_OWNER_SECONDS
    stage.server.fail["get", "namespaces"] = [ApiError(500, "InternalError", "the authorizer is down")]
    assert await stage.owners.owner_of(stage.experiment("after")) is None
    assert await stage.owners.owner_of(before) == "1-2"


async def test_read_that_the_api_server_puts_off_is_tried_again_at_once(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    stage.server.fail["get", "namespaces"] = [TooManyRequests(429, "TooManyRequests", "later", 1.0)]
    experiment = stage.experiment()
    with pytest.raises(TooManyRequests):
        await stage.owners.owner_of(experiment)
    assert await stage.owners.owner_of(experiment) == "1-2"


@pytest.mark.parametrize("uid", [None, "", 7, ["1-2"], "a/1", "a b", "x" * 129, "1-2\n"], ids=str)
async def test_uid_that_cannot_be_an_owner_is_reported_and_the_owner_unknown(stage: Stage, uid: object) -> None:
    stage.server.add_namespace(uid)
    assert await stage.owners.owner_of(stage.experiment()) is None
    assert stage.reports == [(NAMESPACES, "", "ns")]


@pytest.mark.parametrize("metadata", [None, [], "1-2", {}], ids=str)
async def test_namespace_without_metadata_has_no_known_owner(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, metadata: object
) -> None:
    async def get(*_: object) -> dict[str, object]:
        return {"metadata": metadata}

    monkeypatch.setattr(stage.server, "get", get)
    assert await stage.owners.owner_of(stage.experiment()) is None


async def test_namespace_that_cannot_be_decoded_has_no_known_owner(stage: Stage) -> None:
    stage.server.fail["get", "namespaces"] = [ApiError(200, UNDECODABLE, "it can't be parsed as JSON")]
    assert await stage.owners.owner_of(stage.experiment()) is None
    assert stage.reports == [(NAMESPACES, "", "ns")]
