"""Column "What to do" of docs/reference/reasons.md, from the operator's own advice on each reason.

python -m scripts.reasons_table [--check FILE]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from maskrcnn_operator.api.generated import write_or_check
from maskrcnn_operator.api.reasons import WHAT_TO_DO, Reason

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "reasons.md"

_ROW = re.compile(r"^(\| `(\w+)` \| .*? \|)[^|]*\|$", re.MULTILINE)
_CODE = re.compile(r"--\w+|kubectl [^.,:;()]+|\b(?:spec|status)\.\w+(?:\.\w+)*|\b[a-z]+[A-Z]\w*(?:\.\w+)*")
"""Texts set as code: an option, a command, and the name or path of a field."""


def with_advice(text: str) -> str:
    """Return the text of the page with the advice on each reason in the last cell of its row.

    Raises:
        ValueError: a row's first word isn't a reason.
    """
    return _ROW.sub(lambda row: f"{row[1]} {advice(Reason(row[2]))} |", text)


def advice(reason: Reason) -> str:
    """Return what to do about a reason, as a cell of a Markdown table."""
    return _CODE.sub(r"`\g<0>`", WHAT_TO_DO[reason])


def page() -> str:
    """Return the page with the advice of today."""
    return with_advice(PAGE.read_text(encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or with ``--check FILE`` compare it with a file."""
    return write_or_check(page, arguments, module="scripts.reasons_table", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
