"""Problems of a manifest, each with the field and what would be right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class ManifestProblem:
    """One problem of a manifest.

    Attributes:
        field: path as the user wrote it, such as ``spec.steps[2].train.output``; empty for the whole manifest.
        message: the value found and what would be right, in a sentence without the field.
        reason: reason of the condition Stalled.
    """

    field: str
    message: str
    reason: str = "InvalidSpec"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ManifestError(ValueError):
    """Manifest that cannot be read; lists every problem found, not only the first."""

    def __init__(self, problems: tuple[ManifestProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def field_path(parts: tuple[int | str, ...]) -> str:
    """Return a path as text: ``spec.steps[2].name`` for ``("spec", "steps", 2, "name")``."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
