"""Report of the variables that were loaded from a checkpoint, and of the others with the reason."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

_SHOWN = 8


@dataclass(frozen=True)
class LoadReport:
    """Result of `load_checkpoint`; names are those of the network (``conv1/kernel``).

    Attributes:
        path: of the file.
        kind: of the file.
        loaded: variables with the file's values.
        skipped: variables left out by ``skipCheckpointVariables``, with the name or path that matched.
        not_found: variables that the file does not have, with the reason; they keep their initial values.
        unused: variables of the file that the network does not have, by their name in the file, with the reason.
        notes: other remarks to the user.
    """

    path: str
    kind: str
    loaded: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    not_found: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self, columns: int = 100) -> str:
        """Return lines of text: counts, then a row for each layer with variables that were not loaded.

        Args:
            columns: width at which rows are wrapped.
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
        """Return a line about the variables that keep random initial values, None if there are none.

        Args:
            network_path: returns ``box_head/fc6/kernel`` for ``fc6/kernel``.
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
        return f"{len(kept)} of {total} variables keep random initial values: {', '.join(shown)}{more}"


def _rows(reasons: Mapping[str, str], state: str) -> list[tuple[str, str, str]]:
    """Return one row for all variables of a layer that have the same reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, reason in reasons.items():
        layer, _, variable = name.rpartition("/")
        grouped.setdefault((layer, reason), []).append(variable)
    return [(state, _joined(layer, variables), reason) for (layer, reason), variables in grouped.items()]


def _joined(layer: str, variables: Iterable[str]) -> str:
    listed = ", ".join(variables)
    return f"{layer}/ {listed}" if layer else listed
