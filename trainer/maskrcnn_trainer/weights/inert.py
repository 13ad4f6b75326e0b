"""Objects in place of those that a file describes and that are never made."""

from __future__ import annotations

from typing import Any


class Inert:
    """Object in place of one that the file describes but that isn't made: it has a name and ignores everything.

    Attributes:
        name: the class or function from which the file would make it, such as ``argparse.Namespace``.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def set_state(self, state: Any) -> None:
        """Ignore the state that a file gives to this object."""


class Name(Inert):
    """Class or function that the file refers to, by module and name."""

    __slots__ = ()
