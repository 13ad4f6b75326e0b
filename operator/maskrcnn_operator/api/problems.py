"""A problem of a manifest: which field, and what would be right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class ManifestProblem:
    """One thing that is wrong.

    Attributes:
        field: path as the user wrote it, such as ``spec.steps[2].train.output``; empty for the whole manifest.
        message: the value found and what would be right, in a sentence without the field.
        reason: word of the reason vocabulary that the experiment stalls with.
    """

    field: str
    message: str
    reason: str = "InvalidSpec"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ManifestError(ValueError):
    """A manifest that cannot be read; carries every problem found, not only the first."""

    def __init__(self, problems: tuple[ManifestProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def field_path(parts: tuple[int | str, ...]) -> str:
    """``("spec", "steps", 2, "name")`` as ``spec.steps[2].name``."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
