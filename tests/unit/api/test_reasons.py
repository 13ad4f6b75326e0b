from __future__ import annotations

import re

import pytest

from maskrcnn_operator.api.reasons import WHAT_TO_DO, Reason
from maskrcnn_trainer.errors import CacheFull
from maskrcnn_trainer.object_store.explanations import (
    BUCKET_NOT_FOUND,
    PERMISSION_DENIED,
    REFUSED,
    Operation,
    Reached,
)
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.fence.exchange_types import AnothersOwner, FenceOutcome
from maskrcnn_trainer.object_store.fence.explaining import SUPERSEDED, fence_error
from maskrcnn_trainer.object_store.fence.probing import UnableStore
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, OwnerRecord
from maskrcnn_trainer.object_store.retries import ObjectChanged, error_of


def test_every_reason_has_advice() -> None:
    assert set(WHAT_TO_DO) == set(Reason)
    assert all(text.endswith(".") for text in WHAT_TO_DO.values())


def test_reasons_are_words_that_kubernetes_accepts() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Za-z]*", reason) for reason in Reason)


def test_reasons_about_stores_are_those_of_the_tasks() -> None:
    unavailable = error_of(
        Failure(FailureKind.TIMEOUT), Operation.READ, "s3://b/k", Reached("s3", "b"), answered=True
    ).reason
    assert [
        REFUSED, PERMISSION_DENIED, BUCKET_NOT_FOUND, unavailable, ObjectChanged.default_reason,
        CacheFull.default_reason, SUPERSEDED,
    ] == [
        Reason.STORE_REFUSED, Reason.STORE_PERMISSION_DENIED, Reason.BUCKET_NOT_FOUND, Reason.STORE_UNAVAILABLE,
        Reason.INPUT_CHANGED, Reason.CACHE_FULL, Reason.SUPERSEDED,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (UnableStore("a create"), Reason.CONDITIONAL_WRITES_MISSING),
        (AnothersOwner(OwnerRecord("x-0", OwnerIdentity("a", "", "e"), 1), "a/1"), Reason.ANOTHERS_OWNER),
    ],
)
def test_reasons_about_the_owner_and_the_store_are_those_of_the_tasks(outcome: FenceOutcome, reason: Reason) -> None:
    error = fence_error(outcome, "s3://b")
    assert error is not None
    assert error.reason == reason
