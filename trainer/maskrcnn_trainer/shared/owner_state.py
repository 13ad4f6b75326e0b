"""State of the owner of an experiment's results in object storage, as a user names it to take them over."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnerState:
    """Value of takeOverFrom, ``<id>/<ownerEpoch>``: exactly one state of an owner."""

    owner_id: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.owner_id}/{self.epoch}"

    @classmethod
    def parse(cls, text: str) -> OwnerState:
        """Return the state that a text such as ``my-cluster/3`` names.

        Raises:
            ValueError: it isn't an id, a slash, and a whole number from 1.
        """
        owner_id, _, epoch = text.rpartition("/")
        if not owner_id or not re.fullmatch(r"[1-9][0-9]{0,17}", epoch):
            raise ValueError(f"{text!r} isn't an owner's id, a slash, and its epoch, such as my-cluster/3")
        return cls(owner_id, int(epoch))
