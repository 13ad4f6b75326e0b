"""Advice in docs/reference/reasons.md: it is the operator's own."""

from __future__ import annotations

import pytest
from scripts.reasons_table import PAGE, advice, with_advice

from maskrcnn_operator.api.reasons import WHAT_TO_DO, Reason

TABLE = """## Steps that ended

| Reason | Meaning | What to do |
|---|---|---|
| `Error` | Any other `exit` code. | Guess. |
| `Completed` | It has succeeded. | |
"""


def test_page_has_the_advice_of_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_advice(page) == page, "run `make manifests`"
    for reason in Reason:
        assert f" | {advice(reason)} |\n" in page, reason


def test_last_cell_of_a_reason_is_replaced_and_nothing_else() -> None:
    done, completed = WHAT_TO_DO[Reason.ERROR], WHAT_TO_DO[Reason.COMPLETED]
    assert with_advice(TABLE) == TABLE.replace("Guess.", done).replace("succeeded. | |", f"succeeded. | {completed} |")


def test_row_of_an_unknown_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="Errors"):
        with_advice(TABLE.replace("`Error`", "`Errors`"))


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        (Reason.SUSPENDED, "Set `spec.suspend` to false"),
        (Reason.WAITING_FOR_TURN, "or `--jobs` on a single"),
        (Reason.CRASH_LOOP_BACK_OFF, "(`kubectl logs POD -c CONTAINER`)"),
        (Reason.IMAGE_PULL_BACK_OFF, "or set `podOverrides.imagePullSecrets`; the"),
    ],
)
def test_fields_options_and_commands_are_set_as_code(reason: Reason, part: str) -> None:
    assert part in advice(reason)
