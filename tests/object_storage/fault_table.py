"""Table of the faults that were tried, with the number of cases, as the summary of a test run shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

CASES_AT_ONCE = 4


@dataclass(frozen=True)
class FaultRow:
    """Row of the table.

    Attributes:
        server: name of the server.
        fault: what happened, and where.
        cases: number of cases.
        right: number of those in which all checks passed.
    """

    server: str
    fault: str
    cases: int
    right: int


class FaultTable:
    """Rows in the order in which their tests ended."""

    def __init__(self) -> None:
        self._rows: list[FaultRow] = []
        self._lock = threading.Lock()

    def add(self, row: FaultRow) -> None:
        """Append a row."""
        with self._lock:
            self._rows.append(row)

    def lines(self) -> list[str]:
        """Return the table as lines of text; none without a row."""
        if not self._rows:
            return []
        rows = [(row.server, row.fault, str(row.cases), str(row.right)) for row in self._rows]
        total = ("", "all", str(sum(row.cases for row in self._rows)), str(sum(row.right for row in self._rows)))
        table = [("server", "fault", "cases", "right"), *rows, total]
        widths = [max(len(line[column]) for line in table) for column in range(4)]
        return [
            f"{server:<{widths[0]}}  {fault:<{widths[1]}}  {cases:>{widths[2]}}  {right:>{widths[3]}}"
            for server, fault, cases, right in table
        ]


@dataclass(frozen=True)
class FaultCase:
    """A case: its name, and the function that raises an error if a check fails."""

    name: str
    run: Callable[[], None]


def run_cases(table: FaultTable, server: str, fault: str, cases: Iterable[FaultCase]) -> None:
    """Run cases, several at once, add their row to the table, and fail with all that went wrong.

    Args:
        table: gets the row.
        server: name of the server.
        fault: what happens in all the cases.
        cases: at least one.
    """
    listed = list(cases)
    assert listed, f"{fault}: there is no case"

    def problem_of(case: FaultCase) -> str | None:
        try:
            case.run()
        except Exception as error:  # noqa: BLE001 - reported with its case
            return f"{case.name}: {type(error).__name__}: {error}"
        return None

    with ThreadPoolExecutor(max_workers=CASES_AT_ONCE) as pool:
        problems = [problem for problem in pool.map(problem_of, listed) if problem is not None]
    table.add(FaultRow(server, fault, len(listed), len(listed) - len(problems)))
    assert not problems, f"{len(problems)} of {len(listed)} cases of {fault} failed:\n\n" + "\n\n".join(problems)
