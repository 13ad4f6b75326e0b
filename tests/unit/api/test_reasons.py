from __future__ import annotations

import re

from maskrcnn_operator.api.reasons import WHAT_TO_DO, Reason
from maskrcnn_trainer.object_store.explanations import REFUSED, Operation, Reached
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
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
        REFUSED, unavailable, ObjectChanged.default_reason,
    ] == [Reason.STORE_REFUSED, Reason.STORE_UNAVAILABLE, Reason.INPUT_CHANGED]  # fmt: skip
