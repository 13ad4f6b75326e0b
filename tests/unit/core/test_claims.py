"""Claim of the cache, which limits steps as the claim of the workspace does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.core.claims import cache_claim
from maskrcnn_operator.core.desired import resolve

from .conftest import Change, Make
from .world import SETTINGS, World

CACHE = {"persistentVolumeClaim": {"claimName": "copies"}}


def with_cache(*, nodes: int = 1, cache: dict[str, Any] = CACHE) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec.update(cache=cache, objectStores=[{"prefix": "s3://data"}])
        spec["steps"][2]["nodes"] = nodes

    return change


def ready(world: World) -> tuple[str, str]:
    found = world.experiment.status.condition("Ready")
    assert found is not None
    return found.reason, found.message


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        (with_cache(), "copies"),
        (with_cache(cache={"sizeLimit": "1Gi"}), None),
        (lambda spec: spec.update(objectStores=[{"prefix": "s3://data"}]), None),
        (lambda spec: spec.update(cache=CACHE), None),
    ],
    ids=["claim", "emptyDir", "no cache", "no URL"],
)
def test_claim_counts_only_where_a_pod_mounts_it(make: Make, change: Change, claim: str | None) -> None:
    experiment = make(change)
    assert cache_claim(experiment, resolve(experiment)) == claim


def test_nothing_starts_before_the_claim_of_the_cache_is_known(make: Make) -> None:
    world = World(make(with_cache()), replace(SETTINGS, cache_shared=None))
    plan = world.settle()
    assert world.runs == {}
    assert plan.wake_at == world.now + timedelta(seconds=30)
    step = world.step("convert-train")
    assert (step.reason, step.message) == (
        "WaitingForClaim",
        "the PersistentVolumeClaim copies (spec.cache.persistentVolumeClaim) does not exist or cannot be read",
    )


def test_message_names_both_claims_that_are_unknown(make: Make) -> None:
    world = World(make(with_cache()), replace(SETTINGS, workspace_shared=None, cache_shared=None))
    world.settle()
    message = world.step("convert-train").message
    assert "maskrcnn (spec.workspace.persistentVolumeClaim)" in message
    assert "copies (spec.cache.persistentVolumeClaim)" in message


def test_without_read_write_many_of_the_cache_one_step_runs_at_a_time(make: Make) -> None:
    world = World(make(with_cache()), replace(SETTINGS, cache_shared=False))
    world.settle()
    assert world.live() == {"convert-train"}
    assert world.step("convert-val").reason == "WaitingForTurn"


def test_worker_group_with_a_cache_of_one_node_is_stalled(make: Make) -> None:
    world = World(make(with_cache(nodes=2)), replace(SETTINGS, cache_shared=False))
    world.settle()
    assert world.runs == {}
    assert world.conditions()["Stalled"] == "True"
    reason, message = ready(world)
    assert reason == "CacheNotShared"
    assert message == (
        "spec.steps[2].nodes: found 2, but only one node can mount the PersistentVolumeClaim copies "
        "(spec.cache.persistentVolumeClaim); use a ReadWriteMany claim"
    )


def test_worker_group_that_mounts_no_cache_is_not_stalled(make: Make) -> None:
    def only_the_samples(spec: dict[str, Any]) -> None:
        spec["cache"] = CACHE
        spec["steps"][7]["inference"]["imageDir"] = "s3://data/samples"

    world = World(make(only_the_samples), replace(SETTINGS, cache_shared=False))
    world.settle()
    assert "Stalled" not in world.conditions()


def test_workspace_and_cache_of_one_node_are_two_problems(make: Make) -> None:
    world = World(make(with_cache(nodes=2)), replace(SETTINGS, workspace_shared=False, cache_shared=False))
    world.settle()
    reason, message = ready(world)
    assert reason == "WorkspaceNotShared"
    assert "maskrcnn (spec.workspace.persistentVolumeClaim)" in message
    assert "copies (spec.cache.persistentVolumeClaim)" in message


def test_running_worker_group_continues_when_its_cache_is_no_longer_shared(make: Make) -> None:
    world = World(make(with_cache(nodes=2)))
    world.settle()
    world.succeed("convert-train", "convert-val")
    assert world.live() == {"train"}
    world.settings = replace(SETTINGS, cache_shared=False)
    world.settle()
    assert ready(world)[0] == "CacheNotShared"
    assert world.live() == {"train"}
