"""Files that steps have published, under the paths by which a task knows them.

A step's results are objects with names that are used once. Its pointer names a manifest, which maps paths to them.
Here a file has the key that it would have if the step's directory were copied to its place: ``EXPERIMENT/STEP/PATH``
below the URL of all experiments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.object_store.fence.exchange_types import FenceAnswer, FenceOutcome, FenceRequest, run_decision
from maskrcnn_trainer.object_store.fence.explaining import fence_error
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import ObjectVersion, PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.result_reading import (
    FindTerms,
    FoundResults,
    NoPointer,
    NotPublished,
    find_results,
)
from maskrcnn_trainer.shared.object_url import ObjectUrl

RequestSender = Callable[[FenceRequest], FenceAnswer]


class ObjectLookup(Protocol):
    """Look-up of objects by key: in a store, or in what a step has published."""

    def head(self, key: str) -> ObjectInfo | None:
        """Return an object; None: there is no such object."""

    def list(self, prefix: str, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix of whole segments; in deeper folders only if ``recursive``."""


@dataclass(frozen=True, slots=True)
class StepPlace:
    """Directory of a step in object storage.

    Attributes:
        root: URL of all experiments.
        keys: of the step, relative to it.
    """

    root: ObjectUrl
    keys: StepKeys

    @classmethod
    def of(cls, root: ObjectUrl, experiment: str, step: str) -> StepPlace | None:
        """Return the place of a step; None if one of the names can't be that of an experiment or a step."""
        try:
            return cls(root, StepKeys(experiment, step))
        except ValueError:
            return None

    @property
    def url(self) -> ObjectUrl:
        """Return the URL of the directory."""
        return self.root.child(f"{self.keys.experiment}/{self.keys.step}")

    @property
    def pointer(self) -> ObjectUrl:
        """Return the URL of the pointer."""
        return self.root.child(self.keys.pointer)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedInfo(ObjectInfo):
    """Published file: its key by path, its size, and its SHA-256 as etag.

    Attributes:
        stored_key: whole key of the object that holds it.
        place: of the step.
    """

    stored_key: str
    place: StepPlace

    @property
    def sha256(self) -> str:
        """Return the SHA-256 that its manifest states, in hexadecimal digits."""
        return self.etag

    @classmethod
    def of(cls, file: PublishedFile, place: StepPlace) -> PublishedInfo:
        """Return a file of a step's manifest."""
        stored = "/".join(filter(None, (place.root.key, file.key)))
        key = f"{place.url.key}/{file.path}"
        return cls(key=key, size=file.size, etag=file.sha256, stored_key=stored, place=place)


class StepObjects:
    """Look-up of the files of one published set.

    Args:
        place: of the step.
        published: the set.
        version: of the pointer that named it.
    """

    def __init__(self, place: StepPlace, published: PublishedSet, version: ObjectVersion) -> None:
        self.place = place
        self.version = version
        self._infos = {info.key: info for file in published.files for info in [PublishedInfo.of(file, place)]}

    def head(self, key: str) -> PublishedInfo | None:
        """Return a file; None: the set lacks it."""
        return self._infos.get(key)

    def list(self, prefix: str, *, recursive: bool = True) -> Iterator[PublishedInfo]:
        """Yield the files below a prefix of whole segments; in deeper folders only if ``recursive``."""
        above = f"{prefix}/" if prefix else ""
        for key, info in self._infos.items():
            if key.startswith(above) and (recursive or "/" not in key[len(above) :]):
                yield info


class PublishedSteps:
    """Published sets of steps, each looked up once, so that all inputs of a task are of the same set.

    Args:
        sender_of: returns the function that sends requests about a step.
        fingerprints_of: returns the fingerprints whose results are read from a step; empty: the current ones.
    """

    def __init__(
        self, sender_of: Callable[[StepPlace], RequestSender], fingerprints_of: Callable[[StepPlace], tuple[str, ...]]
    ) -> None:
        self._sender_of = sender_of
        self._fingerprints_of = fingerprints_of
        self._found: dict[StepPlace, StepObjects | FenceOutcome] = {}

    def find(self, place: StepPlace) -> StepObjects | None:
        """Return the results of a step; None if it has no pointer.

        Raises:
            InvalidInput: nothing was published yet, or pointer or manifest is damaged (64).
            TryAgain: the results of the fingerprint were replaced (75), or the store doesn't answer.
        """
        if isinstance(self._look_up(place), NotPublished):
            raise self._not_published(place)
        return self.find_if_published(place)

    def find_if_published(self, place: StepPlace) -> StepObjects | None:
        """Return the results of a step; None if it has none.

        Raises:
            InvalidInput: pointer or manifest is damaged (64).
            TryAgain: the store doesn't answer.
        """
        found = self._look_up(place)
        return found if isinstance(found, StepObjects) else None

    def exists(self, place: StepPlace) -> bool:
        """Return whether a step has a pointer, even if it names nothing yet."""
        return not isinstance(self._look_up(place), NoPointer)

    def find_again(self, place: StepPlace) -> None:
        """Look up the results of a step of which an object is absent.

        Raises:
            InvalidInput: the pointer is the same, so the object was deleted by mistake (64).
        """
        before = self._found.pop(place)
        self._look_up(place, before.version if isinstance(before, StepObjects) else None)

    def _look_up(self, place: StepPlace, incomplete: ObjectVersion | None = None) -> StepObjects | FenceOutcome:
        if place not in self._found:
            terms = FindTerms(place.keys, self._fingerprints_of(place), incomplete)
            outcome = run_decision(find_results(terms), self._sender_of(place))
            if isinstance(outcome, FoundResults):
                self._found[place] = StepObjects(place, outcome.published, outcome.version)
            elif isinstance(outcome, NoPointer | NotPublished):
                self._found[place] = outcome
            else:
                error = fence_error(outcome, str(place.root))
                assert error is not None  # noqa: S101 - a search has no other outcome
                raise error
        return self._found[place]

    def _not_published(self, place: StepPlace) -> TaskError:
        if self._fingerprints_of(place):
            return TryAgain(
                f"{place.url} has no results of the fingerprint that this task reads: a later edit of the step has "
                "replaced them, or they were deleted",
                reason="NotPublished",
            )
        return InvalidInput(
            f"{place.url} has no results yet: start again once the step has published some", reason="InvalidData"
        )
