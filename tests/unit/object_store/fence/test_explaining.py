"""Tests of the errors of outcomes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.object_store.fence.steps import order

from maskrcnn_trainer.object_store.fence.exchange_types import (
    AnothersOwner,
    DamagedStore,
    FenceOutcome,
    PointerGone,
    SupersededOutcome,
)
from maskrcnn_trainer.object_store.fence.explaining import fence_error, remedy_of_results
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.ownership import OwnedPrefix, OwnershipLost
from maskrcnn_trainer.object_store.fence.probing import ProbedStore, ProbeInconclusive, UnableStore
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, OwnerRecord
from maskrcnn_trainer.object_store.fence.result_reading import NotPublished
from maskrcnn_trainer.object_store.fence.tombstones import deletion_order
from maskrcnn_trainer.shared.owner_state import OwnerState

RECORD = OwnerRecord("x-0", OwnerIdentity("east", "team", "exp"), 3)


@pytest.mark.parametrize(
    ("outcome", "code", "reason", "part"),
    [
        (SupersededOutcome(order(4), 4), 75, "Superseded", "attempt 4 of this experiment"),
        (SupersededOutcome(order(4)), 75, "Superseded", "the experiment of uid uid-1"),
        (SupersededOutcome(deletion_order(4)), 75, "ResultsDeleted", "results below s3://b/p were deleted; run"),
        (OwnershipLost(None), 75, "ResultsDeleted", "The experiment below s3://b/p was deleted; run"),
        (OwnershipLost(replace(RECORD, owner=None)), 75, "ResultsDeleted", "was deleted"),
        (OwnershipLost(RECORD), 75, "Superseded", "was taken over by another owner"),
        (AnothersOwner(RECORD, "east/3"), 64, "AnothersOwner", "owner east in namespace team; "),
        (UnableStore("a create of an existing object"), 64, "ConditionalWritesMissing", "accepted a create"),
        (PointerGone("exp/train/run.json"), 75, "PointerDeleted", "s3://b/p/exp/train/run.json"),
        (DamagedStore("exp/train/run.json", "isn't a pointer"), 64, "StoreRefused", "run.json isn't a pointer"),
        (ProbeInconclusive(), 75, "StoreUnavailable", "s3://b/p didn't answer"),
        (NotPublished("exp/train/run.json"), 75, "NotPublished", "names no results"),
    ],
)
def test_failure_has_its_exit_code_reason_and_names_what_it_is_about(
    outcome: FenceOutcome, code: int, reason: str, part: str
) -> None:
    error = fence_error(outcome, "s3://b/p")
    assert error is not None
    assert (error.exit_code, error.reason) == (code, reason)
    with pytest.raises(type(error), match=part):
        raise error


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("exp/owner.json", "s3://b/p/exp/ "),
        ("exp/train/run.json", "s3://b/p/exp/train/ "),
        ("exp/train/o/1-a-0-manifest.json", "s3://b/p/exp/train/ "),
    ],
)
def test_damaged_record_names_the_objects_to_remove(key: str, place: str) -> None:
    assert f"isn't JSON; remove all objects below {place}" in str(
        fence_error(DamagedStore(key, "isn't JSON"), "s3://b/p")
    )


def test_damaged_results_name_the_experiment_to_delete() -> None:
    remedy = remedy_of_results("exp/train/o/1-a-0-result.json")
    assert "change the step's revision" in remedy
    assert "delete exp)" in remedy


@pytest.mark.parametrize("outcome", [OwnedPrefix(RECORD), ProbedStore()])
def test_success_has_no_error(outcome: FenceOutcome) -> None:
    assert fence_error(outcome, "s3://b/p") is None


def message(outcome: FenceOutcome, own: OwnerState | None = None) -> str:
    return str(fence_error(outcome, "s3://b/p", keys=StepKeys("exp", "train"), own=own))


@pytest.mark.parametrize(
    ("outcome", "what"),
    [(SupersededOutcome(order(4), 4), "taken over by "), (SupersededOutcome(deletion_order(4)), "deleted; ")],
)
def test_lost_step_is_named(outcome: FenceOutcome, what: str) -> None:
    assert message(outcome).startswith(f"The results of exp/train below s3://b/p were {what}")


def test_lost_experiment_is_named() -> None:
    assert message(OwnershipLost(None)).startswith("The experiment exp below s3://b/p was deleted")


def test_newer_state_of_the_same_owner_is_named_with_both_ways_to_continue() -> None:
    assert message(SupersededOutcome(order(1, 3)), OwnerState("my ci", 3)) == (
        "The results of exp/train below s3://b/p were taken over by the experiment of uid uid-1, created "
        "2026-01-31T12:00:00Z; if that is another state directory of yours, run with it, or take the results back for "
        "good: give --take-over-from 'my ci/3' to maskrcnn-operator run, MASKRCNN_TAKE_OVER_FROM='my ci/3' to "
        "maskrcnn launch, or on a cluster takeOverFrom: 'my ci/3' to spec.workspace.objectStorage"
    )


def test_attempt_of_the_same_experiment_with_another_time_is_named_with_both_times() -> None:
    outcome = SupersededOutcome(order(1, 3), 1)
    error = fence_error(outcome, "s3://b/p", own=OwnerState("ci", 3), created="2025-01-31T12:00:00Z")
    assert str(error) == (
        "The results below s3://b/p were taken over by attempt 1 of this experiment, whose time of creation is "
        "2026-01-31T12:00:00Z and not 2025-01-31T12:00:00Z; give all attempts one MASKRCNN_CREATED, or take the "
        "results back for good: give --take-over-from ci/3 to maskrcnn-operator run, MASKRCNN_TAKE_OVER_FROM=ci/3 to "
        "maskrcnn launch, or on a cluster takeOverFrom: ci/3 to spec.workspace.objectStorage"
    )


def test_later_attempt_of_the_same_time_needs_no_remedy() -> None:
    outcome = SupersededOutcome(order(4, 3), 4)
    error = fence_error(outcome, "s3://b/p", own=OwnerState("ci", 3), created=order(4).created)
    assert str(error).endswith("were taken over by attempt 4 of this experiment")


def test_later_owner_is_not_replaced_by_the_state_of_this_one() -> None:
    assert "take-over-from" not in message(SupersededOutcome(order(1, 4)), OwnerState("ci", 3))


@pytest.mark.parametrize(
    ("theirs", "own", "difference"),
    [
        ("", "ns2", "of owner lab without a namespace; this attempt has the same id and the namespace ns2; to take"),
        ("ns1", "ns2", "of owner lab in namespace ns1; this attempt has the same id and the namespace ns2; to take"),
        ("ns1", "", "of owner lab in namespace ns1; this attempt has the same id and no namespace; to take"),
    ],
)
def test_same_id_in_another_namespace_is_named_and_not_to_be_given_again(
    theirs: str, own: str, difference: str
) -> None:
    record = OwnerRecord("x-0", OwnerIdentity("lab", theirs, "exp"), 3)
    found = message(AnothersOwner(record, "lab/3", OwnerIdentity("lab", own, "exp")))
    assert difference in found
    assert "continues it" not in found


@pytest.mark.parametrize("namespace", ["", "team"])
def test_another_owner_is_taken_over_by_a_flag_a_variable_or_a_field_and_continued_by_its_id(namespace: str) -> None:
    record = OwnerRecord("x-0", OwnerIdentity("$(id)", namespace, "exp"), 3)
    found = message(AnothersOwner(record, "$(id)/3"))
    assert "give --take-over-from '$(id)/3' to maskrcnn-operator run, MASKRCNN_TAKE_OVER_FROM='$(id)/3' to" in found
    assert "on a cluster takeOverFrom: '$(id)/3' to spec.workspace.objectStorage" in found
    assert ("--owner-id '$(id)' or MASKRCNN_OWNER_ID='$(id)' continues it" in found) is (not namespace)
