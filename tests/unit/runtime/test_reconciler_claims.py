"""Claims whose access modes a reconciliation reads: those that the experiment's pods mount."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.cluster.conftest import EXPERIMENT
from tests.unit.runtime.test_reconciler import Stage

from maskrcnn_operator.cluster.optional_reads import FAILED_READ_SECONDS

CACHE = {"cache": {"persistentVolumeClaim": {"claimName": "copies"}}}
STORES = {"objectStores": [{"prefix": "s3://data"}]}


def stage_with(fields: dict[str, Any]) -> Stage:
    stage = Stage()
    experiment = copy.deepcopy(EXPERIMENT)
    experiment["spec"].update(fields)
    experiment["metadata"]["generation"] = 2
    stage.put(experiment)
    return stage


@pytest.mark.parametrize(
    ("fields", "claims"),
    [({}, ["maskrcnn"]), (CACHE, ["maskrcnn"]), (STORES, ["maskrcnn"]), (CACHE | STORES, ["maskrcnn", "copies"])],
    ids=["neither", "no URL", "no cache", "both"],
)
async def test_claims_that_pods_mount_are_read(fields: dict[str, Any], claims: list[str]) -> None:
    stage = stage_with(fields)
    await stage.look()
    assert [*dict.fromkeys(stage.claims.read)] == [("ns", claim) for claim in claims]


@pytest.mark.parametrize(("claim", "reason"), [("maskrcnn", "WorkspaceNotShared"), ("copies", "CacheNotShared")])
async def test_worker_group_on_a_claim_of_one_node_is_stalled(claim: str, reason: str) -> None:
    stage = stage_with(CACHE | STORES)
    stage.claims.not_shared.add(claim)
    await stage.look()
    assert stage.reasons["Stalled"] == reason


@pytest.mark.parametrize("claim", ["maskrcnn", "copies"])
async def test_claim_whose_read_failed_is_read_again_soon(claim: str) -> None:
    stage = stage_with(CACHE | STORES)
    stage.claims.failed.add(claim)
    assert await stage.look() == FAILED_READ_SECONDS
