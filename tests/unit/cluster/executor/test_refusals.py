"""Jobs that the API server rejects: which errors are refusals, and which are temporary."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cluster.executor.conftest import NOW, Stage

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound, api_error
from maskrcnn_operator.cluster.resources import JOBS
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.jobs.config import run_name
from maskrcnn_operator.jobs.names import LABEL_ATTEMPT
from maskrcnn_operator.runtime.options import cluster_settings


@pytest.mark.parametrize(
    "stranger",
    [
        {"labels": {LABEL_ATTEMPT: "1"}},
        {"ownerReferences": []},
        {"labels": {LABEL_ATTEMPT: "1"}, "ownerReferences": [{"uid": "exp-1"}]},
        {"labels": {LABEL_ATTEMPT: "2"}, "ownerReferences": [{"uid": "exp-1", "controller": True}]},
    ],
    ids=["no owner", "no labels", "not controlled", "another attempt"],
)
async def test_name_taken_by_a_job_of_another_owner_is_a_refusal(stage: Stage, stranger: dict[str, Any]) -> None:
    await stage.see()
    name = run_name(stage.experiment, "train", 1)
    stage.server.add(JOBS, "ns", {"metadata": {"name": name, **stranger}, "spec": {}})
    refused = await stage.step()
    assert refused["train"].reason is Reason.NAME_TAKEN
    assert name in refused["train"].message
    again = reconcile(stage.experiment, (), NOW, cluster_settings("trainer:1"), refused=refused)
    step = again.status.step("train")
    assert step is not None
    assert (step.attempt, step.reason) == (0, Reason.NAME_TAKEN)
    assert again.start == ()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "exceeded quota: none"),
        (403, 'jobs.batch "x" is forbidden: exceeded quota: none'),
        (413, "exceeded quota: none"),
        (422, "exceeded quota: none"),
        (500, "etcdserver: request is too large, exceeded quota"),
    ],
)
@pytest.mark.parametrize("plural", ["jobs", "services"])
async def test_a_job_that_is_not_accepted_is_a_refusal(stage: Stage, status: int, message: str, plural: str) -> None:
    await stage.see()
    stage.server.fail["create", plural] = [ApiError(status, "Invalid", message)]
    refused = await stage.step()
    assert refused["train"].reason is Reason.JOB_REFUSED
    assert "exceeded quota" in refused["train"].message


QUOTA = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
DENIED = 'jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot create resource "jobs" in API group "batch"'


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (403, "Forbidden", DENIED),
        (401, "Unauthorized", "Unauthorized"),
        (404, "NotFound", 'namespaces "ns" not found'),
        (409, "Conflict", QUOTA),
        (429, "TooManyRequests", "later"),
        (500, "InternalError", "etcd"),
        (503, "ServiceUnavailable", "no"),
        (504, "Timeout", "no"),
        (0, "TimeoutError", ""),
    ],
)
async def test_temporary_error_is_not_a_refusal(stage: Stage, status: int, reason: str, message: str) -> None:
    await stage.see()
    stage.server.fail["create", "jobs"] = [api_error(status, reason, message, 3.0)]
    with pytest.raises(ApiError) as caught:
        await stage.step()
    # NotFound would cause a list of everything, and Conflict means that the cache is stale
    assert not isinstance(caught.value, NotFound | Conflict)
    assert (caught.value.status, caught.value.message, caught.value.retry_after) == (status, message, 3.0)
    assert await stage.step() == {}
    step = stage.experiment.status.step("train")
    assert step is not None and (step.attempt, step.reason) == (1, Reason.STARTING)


async def test_name_that_was_just_freed_is_retried(stage: Stage) -> None:
    await stage.see()
    stage.server.fail["create", "jobs"] = [Conflict(409, "AlreadyExists", "it is there")]
    with pytest.raises(Conflict):
        await stage.step()
    assert await stage.step() == {}


async def test_unavailable_server_is_not_a_refusal(stage: Stage) -> None:
    await stage.see()
    stage.server.fail["create", "jobs"] = [ApiError(500, "InternalError", "etcd")]
    with pytest.raises(ApiError):
        await stage.step()
    assert stage.experiment.status.current_step is None
