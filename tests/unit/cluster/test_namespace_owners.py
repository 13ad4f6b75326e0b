"""Namespaces are read seldom, and once for any number of experiments, but never taken for one of the same name."""

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
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.namespace_owners import UNKNOWN_OWNER_SECONDS, NamespaceOwners
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


async def test_one_read_is_enough_for_all_experiments_that_are_known(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    experiments = [stage.experiment(f"e{number}") for number in range(20)]
    for experiment in (*experiments, *experiments):
        assert await stage.owners.owner_of(experiment) == "1-2"
        stage.time.seconds += 3600
    assert stage.server.count == 1


async def test_experiment_of_a_namespace_that_was_created_again_has_the_new_uid(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    before = stage.experiment("before")
    assert await stage.owners.owner_of(before) == "1-2"
    stage.server.add_namespace("3-4")
    assert await stage.owners.owner_of(stage.experiment("after")) == "3-4"


async def test_read_that_began_before_an_experiment_was_known_does_not_count_for_it(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    stage.server.gate.clear()
    first = asyncio.create_task(stage.owners.owner_of(stage.experiment("before")))
    await FakeTime.settle()
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


@pytest.mark.parametrize("error", [ApiError(403, "Forbidden", "no"), None], ids=["forbidden", "absent"])
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
    stage.time.seconds += UNKNOWN_OWNER_SECONDS
    assert await stage.owners.owner_of(stage.experiment()) == "1-2"


async def test_read_that_failed_is_not_cached(stage: Stage) -> None:
    stage.server.add_namespace("1-2")
    stage.server.fail["get", "namespaces"] = [ApiError(500, "InternalError", "no")]
    experiment = stage.experiment()
    with pytest.raises(ApiError):
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
