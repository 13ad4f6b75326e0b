"""Lines for the log about the result of pruning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from maskrcnn_trainer.pruning.apply import Retained
from maskrcnn_trainer.pruning.groups import Connectivity


@dataclass(frozen=True)
class Cost:
    """Cost of a network: number of parameters, and of floating-point operations for one image."""

    parameters: int
    flops: int


def pruning_table(layers: Iterable[str], connected: Connectivity, retained: Retained) -> list[str]:
    """Return a line for each of ``layers`` that has filters: its name, and filters before and after."""
    rows = []
    for name in layers:
        number = connected.group_of.get(name)
        if number is not None:
            before = connected.groups[number].filters
            after = len(retained[number]) if number in retained else before
            rows.append((name, str(before), str(after) if number in retained else f"{after} (kept whole)"))
    return aligned([("layer", "filters", "kept"), *rows])


def cost_lines(before: Cost, after: Cost) -> list[str]:
    """Return lines with parameters and operations before and after, and the ratio as TAO Toolkit prints it."""
    lines = aligned(
        [
            ("", "before", "after"),
            ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
            ("GFLOPs an image", f"{before.flops / 1e9:.2f}", f"{after.flops / 1e9:.2f}"),
        ]
    )
    return [*lines, f"Pruning ratio (pruned model / original model): {after.parameters / before.parameters:.6f}"]


def aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    """Return lines of three columns: the first left-aligned, the numbers of the others right-aligned.

    Words in parentheses after a number of the last column do not change its alignment.
    """
    widths = [max(len(row[column].split(" (")[0]) for row in rows) for column in range(3)]
    lines = []
    for first, second, third in rows:
        number, bracket, words = third.partition(" (")
        lines.append(f"{first:<{widths[0]}}  {second:>{widths[1]}}  {number:>{widths[2]}}{bracket}{words}".rstrip())
    return lines
