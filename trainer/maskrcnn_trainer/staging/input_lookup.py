"""Objects that an input names: of a step's published results, or as they are in the store."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import StoreClient
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.explanations import REASONS_OF_REFUSALS
from maskrcnn_trainer.object_store.fence_store import FenceStore
from maskrcnn_trainer.shared.object_url import ObjectPattern, ObjectUrl, parse_pattern, parse_url
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.spec.workspace_urls import pattern_reaches, workspace_problem
from maskrcnn_trainer.staging.needed_objects import NamedObjects, objects_at, objects_of_pattern
from maskrcnn_trainer.staging.published_inputs import (
    ObjectLookup,
    PublishedInfo,
    PublishedSteps,
    RequestSender,
    StepObjects,
    StepPlace,
)
from maskrcnn_trainer.staging.step_directories import DirectoryWithSteps, ObjectsOfPattern, is_step, places_above
from maskrcnn_trainer.staging.work import UrlInput, store_name
from maskrcnn_trainer.staging.workspace_inputs import WorkspaceInStore, is_workspace_path

_STORED_URL = re.compile(r"[a-z0-9]+://[^\s]+/o/[0-9]+-[0-9a-z]+-[0-9]+-[0-9A-Za-z._-]*[0-9A-Za-z_-]")
"""URL of an object whose name is used once."""


@dataclass(frozen=True)
class FoundInput:
    """Objects of an input.

    Attributes:
        connection: to their store.
        above: URL, or path below the workspace, of the place to which the places of the objects are relative.
        folder: name of that place if the input is a directory, which a report shows; else empty.
        named: the objects.
    """

    connection: StoreConnection
    above: str
    folder: str
    named: NamedObjects


@dataclass(frozen=True)
class _Named:
    """Input as it names objects: the URL, or the pattern and its base, and the way in which URLs are shown."""

    given: UrlInput
    connection: StoreConnection
    url: ObjectUrl
    pattern: ObjectPattern | None
    shown: Callable[[ObjectUrl], str] = str
    in_workspace: bool = False

    def found_by(self, lookup: ObjectLookup) -> FoundInput:
        given, store = self.given, store_name(self.connection)
        if self.pattern is not None:
            named = objects_of_pattern(self.pattern, lookup, store, field=given.field)
            above = self.url if self.pattern.pattern else self.url.parent
        else:
            named = objects_at(
                self.url, given.kind, lookup, store,
                field=given.field, is_read=given.is_read, companions=given.companions,
                path=given.written if self.in_workspace else "",
            )  # fmt: skip
            above = self.url.parent if named.path else self.url
        return FoundInput(self.connection, self.shown(above), "" if named.path else above.name, named)


class InputLookup:
    """Look-up of the objects of a task's inputs.

    Args:
        connection_of: returns the connection for a URL and a field, for messages.
        client_of: returns the client of a connection.
        workspace: in object storage; None: ``/workspace`` is a directory.
    """

    def __init__(
        self,
        connection_of: Callable[[ObjectUrl, str], StoreConnection],
        client_of: Callable[[StoreConnection], StoreClient],
        workspace: WorkspaceInStore | None,
    ) -> None:
        self._connection_of = connection_of
        self._client_of = client_of
        self._workspace = workspace
        self._steps = PublishedSteps(
            self._sender_of, (lambda _: ()) if workspace is None else workspace.fingerprints_of
        )  # fmt: skip
        self._pointers: dict[StepPlace, bool] = {}
        self._written: dict[str, str] = {}

    def refuse_overlap(self, given: UrlInput) -> None:
        """Refuse an input by URL that overlaps the workspace.

        Raises:
            InvalidInput: it does (64).
        """
        workspace = self._workspace
        if workspace is not None and (problem := workspace_problem(given.written, str(workspace.url), given.kind)):
            raise InvalidInput(f"{given.field}: {problem}", reason="InvalidSpec")

    def find(self, given: UrlInput) -> FoundInput:
        """Return the objects of an input.

        Raises:
            InvalidInput: the input is absent or isn't published, or a store refuses it (64).
            TryAgain: the store doesn't answer, or the results of a fingerprint were replaced (75).
        """
        found = self._find(given)
        for needed in found.named.objects:
            if needed.published is not None:
                stored = found.connection.url_of(needed.info.key)
                self._written[stored] = f"{found.above}/{needed.place}"
        return found

    def find_again(self, gone: PublishedInfo) -> None:
        """Look up the results of a step again of which an object is absent, for the next :meth:`find`.

        Raises:
            InvalidInput: the pointer is the same, so the object was deleted by mistake (64).
            TryAgain: the store doesn't answer.
        """
        self._steps.find_again(gone.place)

    def as_written(self, text: str) -> str:
        """Return a message in which published files, and all below the workspace, have the names that users know."""
        text = _STORED_URL.sub(lambda url: self._written.get(url[0], url[0]), text)
        return text if self._workspace is None else self._workspace.with_paths(text)

    def _find(self, given: UrlInput) -> FoundInput:
        workspace = self._workspace
        if workspace is not None and is_workspace_path(given.written):
            return self._find_in_workspace(given, workspace)
        return self._find_by_url(given)

    def _find_in_workspace(self, given: UrlInput, workspace: WorkspaceInStore) -> FoundInput:
        pattern = workspace.pattern_of(given.written, given.field) if given.kind is InputKind.PATTERNS else None
        url = pattern.base if pattern else workspace.url_of(given.written, given.field)
        if given.kind is InputKind.FILE and url == workspace.url:
            raise InvalidInput(f"{given.field}: {given.written} is the workspace itself: give the path of a file in it")
        named = _Named(given, self._connection_of(url, given.field), url, pattern, workspace.path_of, in_workspace=True)
        place = workspace.step_above(url)
        published = self._steps.find(place) if place is not None else None
        return named.found_by(published or self._plain(named, workspace.url, any_prefix=False))

    def _find_by_url(self, given: UrlInput) -> FoundInput:
        pattern = parse_pattern(given.written, given.field) if given.kind is InputKind.PATTERNS else None
        url = pattern.base if pattern else parse_url(given.written, given.field)
        named = _Named(given, self._connection_of(url, given.field), url, pattern)
        # first, because a refusal is tried again here: a new permission takes some seconds to be known everywhere
        plain: FoundInput | InvalidInput
        try:
            plain = named.found_by(self._plain(named, ObjectUrl(url.scheme, url.container), any_prefix=True))
        except InvalidInput as error:
            if error.reason in REASONS_OF_REFUSALS:
                raise
            plain = error
        published = self._published_above(named)
        if published is not None:
            return named.found_by(published)
        if isinstance(plain, InvalidInput):
            raise plain
        return plain

    def _plain(self, named: _Named, root: ObjectUrl, *, any_prefix: bool) -> ObjectLookup:
        client = self._client_of(named.connection)
        pattern = named.pattern
        if pattern is None:
            return DirectoryWithSteps(client, self._steps, root, any_prefix=any_prefix)
        return ObjectsOfPattern(
            client, self._steps, root, any_prefix=any_prefix, reaches=lambda url: pattern_reaches(pattern, url)
        )

    def _published_above(self, named: _Named) -> StepObjects | None:
        """Return the results in whose directory a URL given outright lies; None if it lies in none."""
        client = self._client_of(named.connection)
        for place in places_above(named.url, itself=named.given.kind is not InputKind.FILE):
            if place not in self._pointers:
                self._pointers[place] = client.exists(place.pointer.key) and is_step(
                    place, self._steps, of_another_program=True
                )
            if self._pointers[place]:
                return self._steps.find(place)
        return None

    def _sender_of(self, place: StepPlace) -> RequestSender:
        client = self._client_of(self._connection_of(place.url, "the results of a step"))
        return FenceStore(client, place.root.key).sender()
