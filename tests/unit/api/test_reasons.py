from __future__ import annotations

import re

from maskrcnn_operator.api.reasons import WHAT_TO_DO, Reason


def test_every_reason_has_advice() -> None:
    assert set(WHAT_TO_DO) == set(Reason)
    assert all(text.endswith(".") for text in WHAT_TO_DO.values())


def test_reasons_are_words_that_kubernetes_accepts() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Za-z]*", reason) for reason in Reason)
