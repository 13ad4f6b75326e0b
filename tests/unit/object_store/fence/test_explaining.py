"""Tests of the errors of outcomes."""

from __future__ import annotations

import pytest
from tests.unit.object_store.fence.steps import order

from maskrcnn_trainer.object_store.fence.exchange_types import (
    AnothersOwner,
    DamagedStore,
    FenceOutcome,
    PointerGone,
    SupersededOutcome,
)
from maskrcnn_trainer.object_store.fence.explaining import fence_error
from maskrcnn_trainer.object_store.fence.ownership import OwnedPrefix, OwnershipLost
from maskrcnn_trainer.object_store.fence.probing import ProbedStore, ProbeInconclusive, UnableStore
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, OwnerRecord
from maskrcnn_trainer.object_store.fence.result_reading import GivenSetGone, NotPublished
from maskrcnn_trainer.object_store.fence.tombstones import deletion_order

RECORD = OwnerRecord("x-0", OwnerIdentity("east", "team", "exp"), 3)


@pytest.mark.parametrize(
    ("outcome", "code", "reason", "part"),
    [
        (SupersededOutcome(order(4), 4), 75, "Superseded", "attempt 4 of this experiment"),
        (SupersededOutcome(order(4)), 75, "Superseded", "the experiment of uid uid-1"),
        (SupersededOutcome(deletion_order(4)), 75, "Superseded", "a deletion"),
        (OwnershipLost(None), 75, "Superseded", "deleted, or another owner"),
        (AnothersOwner(RECORD, "east/3"), 64, "AnothersOwner", "owner east in namespace team; .*takeOverFrom: east/3"),
        (UnableStore("a create of an existing object"), 64, "StoreRefused", "accepted a create"),
        (PointerGone("exp/train/run.json"), 75, "PointerDeleted", "s3://b/p/exp/train/run.json"),
        (DamagedStore("exp/train/run.json", "isn't a pointer"), 64, "StoreRefused", "run.json isn't a pointer"),
        (ProbeInconclusive(), 75, "StoreUnavailable", "s3://b/p didn't answer"),
        (GivenSetGone("exp/train/o/1-a-0-x"), 75, "Superseded", "1-a-0-x was deleted"),
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


@pytest.mark.parametrize("outcome", [OwnedPrefix(RECORD), ProbedStore()])
def test_success_has_no_error(outcome: FenceOutcome) -> None:
    assert fence_error(outcome, "s3://b/p") is None
