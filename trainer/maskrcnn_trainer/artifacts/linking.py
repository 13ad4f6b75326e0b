"""Links to single files of results, for readers without credentials."""

from __future__ import annotations

from typing import Protocol

from maskrcnn_trainer.artifacts.names import ArtifactName
from maskrcnn_trainer.artifacts.reading import SendRequest, read_set
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.keys import StepKeys

SECONDS_OF_LINK = 3600.0


class LinkSource(Protocol):
    """Store of experiments, as far as links need it."""

    def sender(self) -> SendRequest:
        """Return the function that carries out requests."""

    def link(self, key: str, seconds: float) -> str:
        """Return a URL by which anybody can read an object for a time."""


def link_to_file(store: LinkSource, name: ArtifactName) -> str:
    """Return a URL by which anybody can read a file of a step's current results for an hour.

    Raises:
        InvalidInput: the name isn't that of a file, or the identity can't sign.
        TryAgain: the store is unavailable.
    """
    if name.step is None or name.path is None:
        raise InvalidInput(
            f"NAME {name}: a link leads to one file: give EXPERIMENT/STEP/PATH", reason="InvalidCommandLine"
        )
    keys = StepKeys(name.experiment, name.step)
    for file in read_set(store.sender(), keys).files:
        if file.path == name.path:
            return store.link(file.key, SECONDS_OF_LINK)
    raise InvalidInput(f"NAME: {keys.prefix.rstrip('/')} has no file {name.path}", reason="NotPublished")
