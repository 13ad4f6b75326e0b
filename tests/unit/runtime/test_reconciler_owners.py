"""Owner of results in object storage: read for experiments that need one, and given to their Jobs."""

from __future__ import annotations

from typing import Any

from tests.unit.runtime.test_reconciler import Stage
from tests.unit.runtime.test_reconciler_claims import stage_with

from maskrcnn_operator.cluster.optional_reads import FAILED_READ_SECONDS

BUCKET = {"workspace": {"objectStorage": {"url": "s3://lab/results"}}}


def owners_of_jobs(stage: Stage) -> list[str | None]:
    jobs = [item for (plural, *_), item in stage.server.objects.items() if plural == "jobs"]
    return [environment(job).get("MASKRCNN_OWNER_ID") for job in jobs]


def environment(job: dict[str, Any]) -> dict[str, str]:
    [container] = job["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


async def test_jobs_of_an_experiment_in_object_storage_have_its_owner() -> None:
    stage = stage_with(BUCKET)
    await stage.look()
    assert stage.owners.read == ["nuclei"]
    assert stage.claims.read == []
    assert owners_of_jobs(stage)
    assert set(owners_of_jobs(stage)) == {"uid-of-ns"}


async def test_no_owner_is_read_for_an_experiment_with_a_claim() -> None:
    stage = stage_with({})
    await stage.look()
    assert stage.owners.read == []
    assert set(owners_of_jobs(stage)) == {None}


async def test_experiment_whose_owner_is_unknown_starts_nothing_and_shows_it() -> None:
    stage = stage_with(BUCKET)
    stage.owners.owner_id = None
    await stage.look()
    assert owners_of_jobs(stage) == []
    assert "OwnerUnknown" in stage.steps
    stage.owners.owner_id = "uid-of-ns"
    await stage.look()
    assert set(owners_of_jobs(stage)) == {"uid-of-ns"}


async def test_namespace_whose_read_failed_is_read_again_soon() -> None:
    stage = stage_with(BUCKET)
    stage.owners.owner_id, stage.owners.failed = None, True
    assert await stage.look() == FAILED_READ_SECONDS
