"""What was loaded from a checkpoint and what was not, with the reason."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

_SHOWN = 8


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

    def table(self, columns: int = 100) -> str:
        """Return lines of text: counts, then a row for each layer of which something was not loaded.

        Args:
            columns: width that rows are wrapped to.
        """
        total = len(self.loaded) + len(self.skipped) + len(self.not_found)
        head = f"{self.path} ({self.kind}): {len(self.loaded)} of {total} variables loaded"
        rows = [
            *_rows(self.skipped, "skipped"),
            *_rows(self.not_found, "not found"),
            *_rows(self.unused, "unused"),
        ]
        width = max((len(state) for state, _, _ in rows), default=0)
        lines = [
            textwrap.fill(
                f"{name}  ({reason})",
                max(columns, 40),
                initial_indent=f"  {state:<{width}}  ",
                subsequent_indent=" " * (width + 6),
                break_on_hyphens=False,
            )
            for state, name, reason in rows
        ]
        return "\n".join([head, *lines])

    def left_random(self, network_path: Callable[[str], str]) -> str | None:
        """Return one line about the variables that keep their random starting values, or None.

        Args:
            network_path: gives ``box_head/fc6/kernel`` of ``fc6/kernel``.
        """
        kept = [*self.not_found, *self.skipped]
        if not kept:
            return None
        total = len(self.loaded) + len(kept)
        begun = {network_path(name).partition("/")[0] for name in self.loaded}
        named: dict[str, None] = {}
        for name in kept:
            part, _, rest = network_path(name).partition("/")
            named.setdefault(f"{part}/{rest.rpartition('/')[0]}" if part in begun else part)
        shown = list(named)[:_SHOWN]
        more = f", and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        return f"{len(kept)} of {total} variables keep random starting values: {', '.join(shown)}{more}"


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
