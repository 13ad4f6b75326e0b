"""What was loaded from a checkpoint and what was not, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LoadReport:
    """The outcome of `load_checkpoint`; names are the network's (``conv1/kernel``).

    Attributes:
        path: the file.
        kind: what the file turned out to be.
        loaded: variables that hold the file's values now.
        skipped: variables that ``skipCheckpointVariables`` left alone, with the name or path that matched.
        not_found: variables that the file does not have, with the reason; they keep their starting values.
        mismatched: variables whose shape differs, with both shapes; all of them are skipped ones too, since any other
            is an error.
        unused: what the file has and the network has not, by the file's name, with the reason.
        notes: what a user should know besides.
    """

    path: str
    kind: str
    loaded: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    not_found: Mapping[str, str] = field(default_factory=dict)
    mismatched: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """The report as lines of text: counts, then a row for each layer of which something was not loaded."""
        total = len(self.loaded) + len(self.skipped) + len(self.not_found)
        head = f"{self.path} ({self.kind}): {len(self.loaded)} of {total} variables loaded"
        rows = [
            *_rows(self.skipped, "skipped"),
            *_rows(self.not_found, "not found"),
            *_rows(self.unused, "unused"),
        ]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
        lines = [f"  {state:<{widths[0]}}  {name:<{widths[1]}}  {reason}" for state, name, reason in rows]
        return "\n".join([head, *lines])


def _rows(reasons: Mapping[str, str], state: str) -> list[tuple[str, str, str]]:
    """One row for the variables of a layer that share a reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, reason in reasons.items():
        layer, _, variable = name.rpartition("/")
        grouped.setdefault((layer, reason), []).append(variable)
    return [(state, _joined(layer, variables), reason) for (layer, reason), variables in grouped.items()]


def _joined(layer: str, variables: Iterable[str]) -> str:
    listed = ", ".join(variables)
    return f"{layer}/ {listed}" if layer else listed
