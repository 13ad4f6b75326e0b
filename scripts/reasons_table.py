"""Column "What to do" of docs/reference/reasons.md, from the operator's own advice on each reason.

python scripts/reasons_table.py [--check]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from maskrcnn_operator.api.reasons import WHAT_TO_DO, Reason

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "reasons.md"

_ROW = re.compile(r"^(\| `(\w+)` \| .*? \|)[^|]*\|$", re.MULTILINE)
_CODE = re.compile(r"--\w+|kubectl [^.,:;()]+|\b(?:spec|status)\.\w+(?:\.\w+)*|\b[a-z]+[A-Z]\w*(?:\.\w+)*")
"""Texts set as code: an option, a command, and the name or path of a field."""


def with_advice(page: str) -> str:
    """Return the page with the advice on each reason in the last cell of its row.

    Raises:
        ValueError: a row's first word isn't a reason.
    """
    return _ROW.sub(lambda row: f"{row[1]} {advice(Reason(row[2]))} |", page)


def advice(reason: Reason) -> str:
    """Return what to do about a reason, as a cell of a Markdown table."""
    return _CODE.sub(r"`\g<0>`", WHAT_TO_DO[reason])


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` return 1 if it is out of date."""
    before = PAGE.read_text(encoding="utf-8")
    after = with_advice(before)
    if arguments == ["--check"]:
        if before != after:
            sys.stderr.write(f"{PAGE} differs from api/reasons.py: run `make manifests`\n")
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
