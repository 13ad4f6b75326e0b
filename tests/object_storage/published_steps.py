"""Published files of a step, read from a server as any other client would read them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.object_storage.user_stores import UserStore

from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import PublishedSet, StepPointer
from maskrcnn_trainer.object_store.fence.untrusted import parse_manifest, parse_pointer


@dataclass(frozen=True)
class StepInStore:
    """Step below a prefix of a container.

    Attributes:
        store: the container.
        prefix: key of the workspace's URL.
        experiment, step: names.
    """

    store: UserStore
    prefix: str = "results"
    experiment: str = "exp"
    step: str = "train"

    @property
    def url(self) -> str:
        """Return the URL of the step's results directory."""
        return f"{self.store.url}/{self.prefix}/{self.experiment}/{self.step}"

    @property
    def keys(self) -> StepKeys:
        """Return the keys, relative to the workspace's URL."""
        return StepKeys(self.experiment, self.step)

    def read(self, key: str) -> bytes:
        """Return the content of an object; the key is relative to the workspace's URL."""
        return self.store.server.read(self.store.container, f"{self.prefix}/{key}")

    def write(self, key: str, content: bytes) -> None:
        """Store an object; the key is relative to the workspace's URL."""
        self.store.server.fill(self.store.container, {f"{self.prefix}/{key}": content})

    def keys_below(self, folder: str) -> frozenset[str]:
        """Return the keys below a folder, relative to the workspace's URL."""
        found = self.store.server.keys(self.store.container, f"{self.prefix}/{folder}")
        return frozenset(key.removeprefix(f"{self.prefix}/") for key in found)

    def pointer(self) -> StepPointer:
        """Return the pointer."""
        return parse_pointer(self.read(self.keys.pointer), self.keys)

    def published(self) -> PublishedSet:
        """Return the set in the current slot."""
        slot = self.pointer().current
        assert slot is not None, "nothing is published"
        return parse_manifest(self.read(slot.manifest), self.keys, slot.manifest)

    def files(self) -> dict[str, bytes]:
        """Return the content of the published files by path."""
        return {file.path: self.read(file.key) for file in self.published().files}
