"""Writes of conditions alone: they change nothing else, and the next accepted status removes them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.cluster.conftest import MOST_BYTES, FakeServer

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.cache import Cache, ExperimentEntry
from maskrcnn_operator.cluster.client import CONDITIONS_MANAGER, PROGRESS_MANAGER, STATUS_MANAGER
from maskrcnn_operator.cluster.errors import ApiError, Conflict, StatusRefused
from maskrcnn_operator.cluster.events import Regarding
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.cluster.status_writer import StatusWriter, owners_of_conditions
from maskrcnn_operator.core.notice import Notice, notice
from maskrcnn_operator.core.plan import Event

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = Key("ns", "nuclei")
REFUSED = notice(Reason.STATUS_REFUSED, "422 Invalid: status.steps[0].exitCode", stalled=True)
FAILING = notice(Reason.API_SERVER_ERROR, "503 ServiceUnavailable: no", stalled=False)

STEPS = [{"name": "train", "state": "Running", "attempt": 2, "metrics": [{"name": "AP", "value": "0.5"}]}]
FOREIGN = {"type": "Audited", "status": "True", "reason": "ByHand", "lastTransitionTime": "2026-01-01T10:00:00Z"}


def condition(kind: str, status: str, reason: str, message: str = "said") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T11:00:00Z",
        "observedGeneration": 1,
    }


RUNNING = [
    condition("Reconciling", "True", "Running"),
    condition("Succeeded", "Unknown", "Running"),
    condition("Ready", "False", "Running"),
]
FAILED = [
    condition("Stalled", "True", "StepFailed"),
    condition("Succeeded", "False", "StepFailed"),
    condition("Ready", "False", "Failed"),
]
DONE = [condition("Succeeded", "True", "Succeeded"), condition("Ready", "True", "Succeeded")]


class Stage:
    """Writer, and a running experiment with a condition of another controller."""

    def __init__(self, server: FakeServer, experiment: Mapping[str, Any]) -> None:
        self.server, self.cache, self.leading = server, Cache(), True
        self.events: list[tuple[Regarding, Event]] = []
        self.writer = StatusWriter(
            server,  # type: ignore[arg-type]
            self.cache,
            fence=self._fence,
            record_event=lambda regarding, event: self.events.append((regarding, event)),
        )
        self.cache.put(EXPERIMENTS, server.add(EXPERIMENTS, "ns", experiment))

    @property
    def stored(self) -> dict[str, Any]:
        return self.server.objects["maskrcnnexperiments", "ns", "nuclei"]

    @property
    def conditions(self) -> dict[str, Any]:
        return {item["type"]: item for item in self.stored["status"]["conditions"]}

    @property
    def entry(self) -> ExperimentEntry:
        found = self.cache.entry(KEY)
        assert found is not None
        return found

    def flood(self, number: int, message: str = "") -> list[str]:
        """Let another controller write conditions; return their types, oldest first."""
        status = self.stored["status"]
        kinds = [f"Foreign{index:02}" for index in range(number)]
        added = [{**FOREIGN, "type": kind, "message": message} for kind in kinds]
        status["conditions"] = [item for item in status["conditions"] if item["type"] != "Audited"] + added
        for kind in kinds:
            self.server.belongs_to_another("ns", "nuclei", kind)
        self.server.add(EXPERIMENTS, "ns", self.stored)
        return kinds

    @property
    def foreign(self) -> list[str]:
        return [kind for kind in self.conditions if kind.startswith("Foreign")]

    async def apply(self, conditions: list[dict[str, Any]], steps: Any = STEPS) -> Mapping[str, Any]:
        status = copy.deepcopy({"steps": steps, "conditions": conditions})
        return await self.writer.apply("ns", "nuclei", status, self.stored["metadata"]["resourceVersion"])

    async def report(self, said: Notice) -> bool:
        self.cache.put(EXPERIMENTS, copy.deepcopy(self.stored))
        return await self.writer.report(KEY, said, self.entry, NOW)

    def _fence(self) -> None:
        if not self.leading:
            raise RuntimeError("does not lead")


@pytest.fixture
async def stage(server: FakeServer, experiment_object: dict[str, Any]) -> Stage:
    found = Stage(server, experiment_object)
    await found.apply(RUNNING)
    status = found.stored["status"]
    status["conditions"].append(FOREIGN)
    server.belongs_to_another("ns", "nuclei", "Audited")
    server.add(EXPERIMENTS, "ns", found.stored)
    server.writes.clear()
    return found


@pytest.mark.parametrize("said", [REFUSED, FAILING])
async def test_notice_leaves_steps_and_foreign_conditions_as_they_are(stage: Stage, said: Notice) -> None:
    steps = json.dumps(stage.stored["status"]["steps"])
    assert await stage.report(said)
    assert stage.server.writes == [("patch", "conditions", "nuclei")]
    assert json.dumps(stage.stored["status"]["steps"]) == steps
    assert stage.conditions["Audited"] == FOREIGN
    assert (stage.conditions["Ready"]["reason"], stage.conditions["Ready"]["message"]) == (said.reason, said.message)
    assert stage.entry.version == int(stage.stored["metadata"]["resourceVersion"])


async def test_existing_notice_is_not_written_again(stage: Stage) -> None:
    await stage.report(REFUSED)
    assert await stage.report(REFUSED)
    assert stage.server.writes == [("patch", "conditions", "nuclei")]


async def test_notice_of_an_older_generation_is_not_written(stage: Stage) -> None:
    entry = stage.entry
    stage.stored["metadata"]["generation"] = 2
    assert not await stage.writer.report(KEY, REFUSED, entry, NOW)
    assert stage.server.writes == []


async def test_notice_about_a_deleted_experiment_is_not_written_to_the_next(stage: Stage) -> None:
    entry = stage.entry
    stage.stored["metadata"]["uid"] = "exp-2"
    assert not await stage.writer.report(KEY, REFUSED, entry, NOW)
    assert stage.server.writes == []


async def test_replica_that_lost_the_lease_writes_no_notice(stage: Stage) -> None:
    stage.leading = False
    with pytest.raises(RuntimeError):
        await stage.report(REFUSED)
    assert stage.server.writes == []


async def test_replica_that_lost_the_lease_writes_no_notice_to_an_undecodable_experiment(stage: Stage) -> None:
    undecodable = {**stage.stored["metadata"], "resourceVersion": "900"}
    stage.cache.put_undecodable(undecodable)
    stage.leading = False
    with pytest.raises(RuntimeError):
        await stage.writer.report(KEY, REFUSED, stage.entry, NOW)
    assert stage.server.writes == []


async def test_status_changed_since_it_was_read_is_not_overwritten_by_a_notice(stage: Stage) -> None:
    stage.server.before["merge", "maskrcnnexperiments"] = lambda: stage.server.add(EXPERIMENTS, "ns", stage.stored)
    with pytest.raises(Conflict):
        await stage.report(REFUSED)
    assert "Stalled" not in stage.conditions


@pytest.mark.parametrize("said", [REFUSED, FAILING])
@pytest.mark.parametrize("then", [RUNNING, FAILED, DONE], ids=["running", "failed", "done"])
async def test_next_accepted_status_ends_the_notice(stage: Stage, said: Notice, then: list[dict[str, Any]]) -> None:
    await stage.report(said)
    metadata = await stage.apply(then)
    assert stage.conditions == {item["type"]: item for item in [*then, FOREIGN]}
    assert metadata["resourceVersion"] == stage.stored["metadata"]["resourceVersion"]
    # each condition has one owner again, so that a later status can leave it out
    await stage.apply(DONE)
    assert stage.conditions == {item["type"]: item for item in [*DONE, FOREIGN]}


async def test_accepted_status_without_a_notice_before_is_one_call(stage: Stage) -> None:
    await stage.apply(DONE)
    assert stage.server.writes == [("patch", "status", "nuclei")]


async def test_condition_with_two_owners_is_released_when_it_keeps_a_status_from_being_accepted(stage: Stage) -> None:
    await stage.report(REFUSED)
    # the status was accepted, and the replica ended before it could take over the condition
    await stage.server.apply_status(
        "ns", "nuclei", {"steps": STEPS, "conditions": FAILED}, stage.stored["metadata"]["resourceVersion"]
    )
    await stage.apply(DONE)
    assert stage.conditions == {item["type"]: item for item in [*DONE, FOREIGN]}


async def test_experiment_that_changes_before_a_condition_is_released_is_looked_at_again(stage: Stage) -> None:
    await stage.report(REFUSED)
    await stage.server.apply_status(
        "ns", "nuclei", {"steps": STEPS, "conditions": FAILED}, stage.stored["metadata"]["resourceVersion"]
    )
    stage.server.before["get", "maskrcnnexperiments"] = lambda: stage.server.add(EXPERIMENTS, "ns", stage.stored)
    with pytest.raises(Conflict):
        await stage.apply(DONE)
    assert "Stalled" in stage.conditions


async def test_notice_is_written_to_a_status_that_is_newer_than_the_cache(stage: Stage) -> None:
    entry = stage.entry
    stage.server.add(EXPERIMENTS, "ns", stage.stored)
    assert await stage.writer.report(KEY, REFUSED, entry, NOW)
    assert stage.conditions["Ready"]["reason"] == REFUSED.reason


async def test_condition_that_a_refused_status_lists_is_not_released(stage: Stage) -> None:
    await stage.report(REFUSED)
    await stage.server.apply_status(
        "ns", "nuclei", {"steps": STEPS, "conditions": FAILED}, stage.stored["metadata"]["resourceVersion"]
    )
    stage.server.writes.clear()
    stage.server.fail["patch", "maskrcnnexperiments"] = [ApiError(422, "Invalid", "still")]
    with pytest.raises(StatusRefused):
        await stage.apply(FAILED)
    assert stage.server.writes == []


async def test_replica_that_loses_the_lease_after_a_status_takes_no_condition_over(stage: Stage) -> None:
    await stage.report(REFUSED)
    stage.server.writes.clear()
    stage.server.before["get", "maskrcnnexperiments"] = lambda: setattr(stage, "leading", False)
    with pytest.raises(RuntimeError):
        await stage.apply(DONE)
    assert stage.server.writes == [("patch", "status", "nuclei")]


async def test_notice_stays_while_the_status_is_refused(stage: Stage) -> None:
    await stage.report(REFUSED)
    stage.server.writes.clear()
    stage.server.fail["patch", "maskrcnnexperiments"] = [ApiError(422, "Invalid", "still")]
    with pytest.raises(StatusRefused):
        await stage.apply(DONE)
    assert stage.conditions["Stalled"]["reason"] == Reason.STATUS_REFUSED
    assert stage.server.writes == []


async def test_experiment_that_changes_while_conditions_are_taken_over_is_looked_at_again(stage: Stage) -> None:
    await stage.report(REFUSED)
    stage.server.before["get", "maskrcnnexperiments"] = lambda: stage.server.add(EXPERIMENTS, "ns", stage.stored)
    with pytest.raises(Conflict):
        await stage.apply(DONE)
    assert "Stalled" in stage.conditions
    await stage.apply(DONE)
    assert "Stalled" not in stage.conditions


@pytest.mark.parametrize("status", [403, 409, 429, 500, 503, 0])
async def test_other_failures_of_a_status_write_are_not_refusals(stage: Stage, status: int) -> None:
    stage.server.fail["patch", "maskrcnnexperiments"] = [ApiError(status, "", "exceeded")]
    with pytest.raises(ApiError) as caught:
        await stage.apply(DONE)
    assert not isinstance(caught.value, StatusRefused)


async def test_progress_is_not_part_of_a_status_write(stage: Stage) -> None:
    sent = {"steps": STEPS, "conditions": RUNNING, "progress": {"step": "train"}}
    await stage.writer.apply("ns", "nuclei", sent, stage.stored["metadata"]["resourceVersion"])
    assert "progress" not in stage.stored["status"]


def fields(*kinds: str) -> dict[str, Any]:
    return {"f:status": {"f:conditions": {".": {}, **{f'k:{{"type":"{kind}"}}': {".": {}} for kind in kinds}}}}


def test_owners_are_read_from_managed_fields() -> None:
    managed = [
        {
            "manager": STATUS_MANAGER,
            "operation": "Apply",
            "subresource": "status",
            "fieldsV1": fields("Ready", "Stalled"),
        },
        {"manager": CONDITIONS_MANAGER, "operation": "Update", "fieldsV1": fields("Stalled")},
        {"manager": STATUS_MANAGER, "operation": "Update", "fieldsV1": fields("Suspended")},
        {"manager": PROGRESS_MANAGER, "operation": "Apply", "fieldsV1": {"f:status": {"f:progress": {"f:step": {}}}}},
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}},
    ]
    assert owners_of_conditions(managed) == ({"Ready", "Stalled"}, {"Stalled", "Suspended"})


@pytest.mark.parametrize("managed", [None, [], "text", [{}], [{"fieldsV1": {"f:status": None}}]])
def test_objects_without_managed_fields_have_no_owners(managed: object) -> None:
    assert owners_of_conditions(managed) == (frozenset(), frozenset())


@pytest.mark.parametrize("kind", ["[" * 9000 + "]" * 9000, "7", "null", "{"])
def test_keys_without_a_condition_type_are_ignored(kind: str) -> None:
    managed = [{"manager": "kubectl", "fieldsV1": {"f:status": {"f:conditions": {f'k:{{"type":{kind}}}': {}}}}}]
    assert owners_of_conditions(managed) == (frozenset(), frozenset())


@pytest.mark.parametrize("number", [12, 13, 16, 20])
async def test_status_is_accepted_if_other_controllers_have_filled_the_list(stage: Stage, number: int) -> None:
    kinds = stage.flood(number)
    suspended = [*FAILED, condition("Suspended", "True", "Suspended"), condition("Reconciling", "True", "Running")]
    await stage.apply(suspended)
    assert {item["type"] for item in suspended} <= stage.conditions.keys()
    assert stage.foreign == kinds[:11]
    [(regarding, event)] = stage.events
    assert regarding[:3] == ("ns", "nuclei", "exp-1")
    assert (event.type, event.reason) == ("Warning", "ConditionsRemoved")
    assert event.message.endswith(f"removed conditions of other writers: {', '.join(kinds[11:])}")


async def test_foreign_conditions_that_leave_room_stay_when_a_status_is_refused(stage: Stage) -> None:
    stage.flood(11)
    before = copy.deepcopy(stage.conditions)
    stage.server.fail["patch", EXPERIMENTS.plural] = [ApiError(422, "Invalid", "status.restarts: too large")] * 2
    with pytest.raises(StatusRefused):
        await stage.apply(FAILED)
    assert stage.conditions == before
    assert not stage.events


@pytest.mark.parametrize("said", [REFUSED, FAILING])
async def test_notice_is_accepted_although_foreign_conditions_fill_the_list_and_is_written_once(
    stage: Stage, said: Notice
) -> None:
    stage.stored["status"]["conditions"] = []
    kinds = stage.flood(16)
    assert await stage.report(said)
    assert stage.conditions["Ready"]["reason"] == said.reason
    assert stage.foreign == kinds[:11]
    assert [event.reason for _, event in stage.events] == ["ConditionsRemoved"]
    stage.server.writes.clear()
    assert await stage.report(said)
    assert not stage.server.writes


@pytest.mark.parametrize("write", ["status", "notice"])
async def test_foreign_conditions_that_fill_the_object_are_removed(stage: Stage, write: str) -> None:
    kinds = stage.flood(11, "x" * (MOST_BYTES // 11 - 220))
    long = "y" * 8_000
    if write == "status":
        await stage.apply([condition("Stalled", "True", "StepFailed", long), *FAILED[1:]])
        assert stage.conditions["Stalled"]["message"] == long
    else:
        assert await stage.report(notice(Reason.STATUS_REFUSED, "z" * 1_000, stalled=True))
        assert stage.conditions["Stalled"]["reason"] == "StatusRefused"
    assert stage.foreign == []
    assert all(kind in stage.events[0][1].message for kind in kinds)
