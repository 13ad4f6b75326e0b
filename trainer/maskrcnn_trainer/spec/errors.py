"""Problems of a spec, reported all at once, with fields named as the user wrote them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.text import shown

__all__ = ["Path", "Problem", "SpecError", "dotted", "shown"]

Path = tuple[str | int, ...]
"""Location of a value: snake_case names of fields, and positions in lists."""


def dotted(path: Path, spelling: Callable[[str], str] = to_camel) -> str:
    """Return ``dataConfig.imageSize[0]`` for ("data_config", "image_size", 0)."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else ("." if text else "") + spelling(part)
    return text


@dataclass(frozen=True)
class Problem:
    """One problem of a spec.

    Attributes:
        path: the field, in snake_case names.
        value: the value of the field; None if it is missing.
        message: the value where it helps, and what would be right.
        field: the field as the user wrote it; empty: its camelCase name.
    """

    path: Path
    value: Any
    message: str
    field: str = ""

    def __str__(self) -> str:
        field = self.field or dotted(self.path)
        return f"{field}: {self.message}" if field else self.message


class SpecError(InvalidInput):
    """Invalid experiment spec (exit code 64).

    Args:
        problems: all problems of the spec, at least one.
        source: origin of the spec, such as a file name.
    """

    default_reason = "InvalidSpec"

    def __init__(self, problems: Iterable[Problem], source: str = "the experiment spec") -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.source = source
        if len(self.problems) == 1:
            message = f"{source}: {self.problems[0]}"
        else:
            message = f"{source}: {len(self.problems)} problems:" + "".join(f"\n  {item}" for item in self.problems)
        super().__init__(message)
