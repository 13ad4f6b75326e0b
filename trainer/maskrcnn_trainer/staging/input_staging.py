"""Staging of a task's inputs: every object that it reads becomes a file, by way of the cache."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from maskrcnn_trainer.errors import NO_SPACE, CacheFull, InvalidInput, Stopped, TaskError, TryAgain
from maskrcnn_trainer.object_store.client import ObjectInfo, StoreClient
from maskrcnn_trainer.object_store.connection import StoreConnection, connection_for
from maskrcnn_trainer.object_store.explanations import REFUSED
from maskrcnn_trainer.shared.messages import INPUTS_FILE
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.shared.variables import STAGED_INPUTS_VARIABLE
from maskrcnn_trainer.spec.object_stores import ObjectStore, ObjectStoreSpec, local_stores
from maskrcnn_trainer.staging.cache_owner import CLAIM_FILE, CacheOwner, remove_dead_owners
from maskrcnn_trainer.staging.eviction import CachedObject, evict_for
from maskrcnn_trainer.staging.input_lookup import InputLookup
from maskrcnn_trainer.staging.inputs_record import inputs_file, inputs_summary
from maskrcnn_trainer.staging.loading import load_planned
from maskrcnn_trainer.staging.object_cache import ObjectCache
from maskrcnn_trainer.staging.plan import (
    LARGEST_SHARE,
    NeededObject,
    StagingPlan,
    plan_staging,
    space_missing,
)
from maskrcnn_trainer.staging.published_inputs import PublishedInfo
from maskrcnn_trainer.staging.work import ListedInput, StagingWork, UrlInput
from maskrcnn_trainer.staging.workspace_inputs import WorkspaceInStore
from maskrcnn_trainer.task.files import make_directory
from maskrcnn_trainer.task.staged_inputs import (
    StagedInputs,
    hand_on_staged_inputs,
    staged_inputs,
    use_staged_inputs,
)

MOST_CHANGES = 5
"""Number of times that an object may change while it is loaded."""

SECONDS_BETWEEN_LOOKS = 0.5
"""Time between two looks at objects that other processes load."""

_STAGED_FILE = "handed-on"


class _ResultsReplaced(Exception):
    """An object of a published set doesn't exist any more."""

    def __init__(self, one: NeededObject, gone: PublishedInfo) -> None:
        super().__init__()
        self.one = one
        self.gone = gone


@dataclass(frozen=True)
class StagingSettings:
    """Way to the stores, and place for the copies.

    Attributes:
        stores: how URLs are reached, without problems.
        cache: directory for the copies; made if absent.
        limit: of the cache in bytes; None: the disk is the limit.
        workspace: in object storage; None: ``/workspace`` is a directory.
        environment: variables of this process, for stores with an ambient identity.
    """

    stores: Sequence[ObjectStoreSpec]
    cache: Path
    limit: int | None = None
    workspace: WorkspaceInStore | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


class StagingProgress(Protocol):
    """Display of a staging."""

    def listed(self, url: str) -> None:
        """Show that the objects at a URL are being listed."""

    def begin(self, files: int, size: int, *, files_to_load: int, bytes_to_load: int) -> None:
        """Show what is needed, and how much of it is to be loaded."""

    def loaded(self, size: int) -> None:
        """Count bytes."""

    def whole(self) -> None:
        """Count an object."""

    def correct(self, size: int) -> None:
        """Change the bytes that are to be loaded by ``size``, which may be negative."""

    def waiting(self, sentence: str) -> None:
        """Show why the loading waits."""

    def end(self) -> None:
        """Show that all is staged."""


class InputStaging:
    """Staging of the inputs of one task, which may be done in several steps.

    Nothing is made before the first input by URL. The copies are there until the block ends.

    Args:
        settings: of the staging.
        progress: display.
        stop: returns whether to stop; called at least every 0.5 seconds.
    """

    def __init__(
        self, settings: StagingSettings, progress: StagingProgress, *, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._stop = stop
        self._stack = ExitStack()
        self._clients: dict[StoreConnection, StoreClient] = {}
        self._cache: ObjectCache | None = None
        self._lookup = InputLookup(self._connection, self._client, settings.workspace)
        self._objects: dict[str, list[ObjectInfo]] = {}
        self._count = 0
        self._before = StagedInputs()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_connections()
        if self._cache is not None:
            os.environ.pop(STAGED_INPUTS_VARIABLE, None)
            use_staged_inputs(self._before)
        self._stack.close()

    @property
    def settings(self) -> StagingSettings:
        """Return the settings, with the stores of the manifest."""
        return self._settings

    def close_connections(self) -> None:
        """End the helper processes; a later staging starts others."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def use_stores_of(self, manifest: Sequence[ObjectStore]) -> None:
        """Use the stores of a manifest for URLs for which no other store of the same prefix is given.

        Raises:
            InvalidInput: one of them has a Secret, which this machine can't read.
        """
        self._settings = replace(self._settings, stores=local_stores(manifest, self._settings.stores))

    def stage(self, inputs: Iterable[UrlInput]) -> None:
        """Stage inputs that aren't staged yet, and make them those of this process and of its children.

        Args:
            inputs: by URL of an object store, or by path below a workspace in object storage.

        Raises:
            InvalidInput: an input is absent, a store refuses it, or no directory can hold its objects (64).
            CacheFull: the objects don't fit (70).
            TryAgain: a store doesn't answer, or an object changes again and again (75).
            Stopped: as requested.
            OSError: of the cache.
        """
        new = {given.written: given for given in inputs if given.written not in staged_inputs().paths}
        if not new:
            return
        for given in new.values():
            self._lookup.refuse_overlap(given)
        cache = self._opened()
        try:
            self._stage(list(new.values()), cache, tries=MOST_CHANGES)
        except TaskError as error:
            error.args = (self._lookup.as_written(str(error)),)
            raise
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise CacheFull(
                f"the cache {cache.root}: no space left ({error.strerror}); give it more room (on a cluster: "
                "spec.cache), or another directory with --cache"
            ) from error
        self._progress.end()

    def _stage(self, inputs: Sequence[UrlInput], cache: ObjectCache, *, tries: int) -> None:
        listed = [self._list(given, cache) for given in inputs]
        work = StagingWork(listed)
        try:
            self._load(work, cache)
        except _ResultsReplaced as replaced:
            if not tries:
                raise TryAgain(
                    f"{work.url(replaced.one)}: its step has published other results {MOST_CHANGES + 1} times while "
                    "they were read: start the task when the step is complete",
                    reason="InputChanged",
                ) from None
            self._lookup.find_again(replaced.gone)
            for one in listed:
                shutil.rmtree(one.directory)
            self._stage(inputs, cache, tries=tries - 1)
        else:
            self._hand_on(listed, work, cache)

    def _opened(self) -> ObjectCache:
        if self._cache is None:
            self._before = staged_inputs()
            root = self._settings.cache.absolute()
            make_directory(root, flag="--cache")
            owner = self._stack.enter_context(CacheOwner(root))
            self._cache = ObjectCache(root, owner)
            _refuse_without_links(self._cache)
            remove_dead_owners(root, owner)
        return self._cache

    def _client(self, connection: StoreConnection) -> StoreClient:
        if connection not in self._clients:
            on_wait = lambda text: self._progress.waiting(self._lookup.as_written(text))  # noqa: E731
            self._clients[connection] = StoreClient(connection, stop=self._stop, on_wait=on_wait)
        return self._clients[connection]

    def _list(self, given: UrlInput, cache: ObjectCache) -> ListedInput:
        self._progress.listed(given.written)
        found = self._lookup.find(given)
        directory = cache.staged(self._count) / found.folder
        self._count += 1
        directory.mkdir(parents=True)
        return ListedInput(given, found.connection, found.above, found.named, directory)

    def _connection(self, url: ObjectUrl, field_name: str) -> StoreConnection:
        try:
            return connection_for(url, self._settings.stores, self._settings.environment)
        except InvalidInput as error:
            raise InvalidInput(f"{field_name}: {error}", reason=error.reason) from None

    def _load(self, work: StagingWork, cache: ObjectCache) -> None:
        objects = work.objects
        linked = {one.name: one.info.size for one in objects if self._is_linked(one, work, cache)}
        left = {one.name: cache.left_bytes(one.name) for one in objects if one.name not in linked}
        plan = plan_staging(objects, linked, left)
        self._make_room(plan, work, cache)
        self._progress.begin(
            len(objects),
            sum(one.info.size for one in objects),
            files_to_load=len(plan.to_load),
            bytes_to_load=plan.to_load_bytes,
        )
        pending = list(plan.to_load)
        damaged: set[NeededObject] = set()
        while pending:
            elsewhere: list[NeededObject] = []
            changed: list[NeededObject] = []
            by_connection: dict[StoreConnection, list[NeededObject]] = {}
            for one in pending:
                by_connection.setdefault(work.connection(one), []).append(one)
            for connection, some in by_connection.items():
                client = self._client(connection)
                outcome = load_planned(
                    some,
                    client,
                    cache,
                    on_loaded=self._progress.loaded,
                    on_whole=lambda one: self._link(one, work, cache),
                    on_found=lambda one: self._link(one, work, cache, found=True),
                )
                elsewhere += outcome.elsewhere
                changed += self._listed_again(outcome.changed, outcome.absent, client, work)
                changed += self._damaged_again(outcome.damaged, damaged, work)
            if elsewhere and not changed:
                self._wait_for_others(len(elsewhere))
            pending = [*changed, *elsewhere]

    def _is_linked(self, one: NeededObject, work: StagingWork, cache: ObjectCache) -> bool:
        return cache.size_of(one.name) == one.info.size and all(cache.stage(one.name, to) for to in work.places(one))

    def _link(self, one: NeededObject, work: StagingWork, cache: ObjectCache, *, found: bool = False) -> None:
        for place in work.places(one):
            if not cache.stage(one.name, place):
                raise TryAgain(
                    f"{work.url(one)}: another process has removed it from the cache {cache.root} while it was staged; "
                    "give the cache more room, or start the task again",
                    reason="InputChanged",
                )
        if found:
            self._progress.correct(-one.info.size)
        self._progress.whole()

    def _listed_again(
        self,
        changed: Sequence[NeededObject],
        absent: Sequence[NeededObject],
        client: StoreClient,
        work: StagingWork,
    ) -> list[NeededObject]:
        found: list[NeededObject] = []
        for one in absent:
            if one.published is not None:
                raise _ResultsReplaced(one, one.published)
        for one in changed:
            if one.published is not None:
                raise InvalidInput(
                    f"{work.url(one)} has another size than its manifest states, {one.info.size:,} bytes: it was "
                    "replaced after it was published; run its step again",
                    reason=REFUSED,
                )
            info = client.head(one.info.key)
            if info is None:
                absent = [*absent, one]
                continue
            self._progress.waiting(f"{work.url(one)} has changed while it was read: it is loaded again")
            if work.changes(one) > MOST_CHANGES:
                raise TryAgain(
                    f"{work.url(one)} has changed {MOST_CHANGES + 1} times while it was read: start the task when it "
                    "is complete",
                    reason="InputChanged",
                )
            self._progress.correct(info.size)
            found.append(work.replace(one, info))
        if absent:
            raise TryAgain(
                f"{work.url(absent[0])} was deleted after it was listed: start the task when its inputs are complete",
                reason="InputChanged",
            )
        return found

    def _damaged_again(
        self, found: Sequence[NeededObject], before: set[NeededObject], work: StagingWork
    ) -> Sequence[NeededObject]:
        for one in found:
            if one in before:
                raise InvalidInput(
                    f"{work.url(one)} has another SHA-256 than its manifest states: it was damaged or replaced after "
                    "it was published; run its step again",
                    reason=REFUSED,
                )
            self._progress.waiting(f"{work.url(one)} arrived damaged: it is loaded again")
            self._progress.correct(one.info.size)
            before.add(one)
        return found

    def _wait_for_others(self, count: int) -> None:
        self._progress.waiting(f"another process loads {count} of the objects into the same cache")
        if self._stop():
            raise Stopped("Stopped while objects were read.")
        time.sleep(SECONDS_BETWEEN_LOOKS)

    def _make_room(self, plan: StagingPlan, work: StagingWork, cache: ObjectCache) -> None:
        """Evict objects so that those of a plan fit.

        Raises:
            CacheFull: they don't fit without what processes have staged.
        """
        limit = self._settings.limit
        free = shutil.disk_usage(cache.root).free
        if not plan.to_load or (limit is None and plan.to_load_bytes <= free):
            return
        cache.remove_left(but={one.name for one in plan.to_load})
        free = shutil.disk_usage(cache.root).free
        objects = list(cache.objects())
        staged = sum(one.size for one in objects if one.is_staged)
        used = sum(one.size for one in objects)
        missing = space_missing(plan, free=free + used - staged, limit=limit, staged=staged)
        if missing is not None:
            raise CacheFull(
                f"{work.field(plan.to_load[0])}: {missing}; give the cache more room (on a cluster: spec.cache), or "
                "another directory with --cache"
            )
        _evict(objects, cache, needed=plan.to_load_bytes, limit=used + free)
        if limit is not None:
            remaining = [one for one in objects if cache.size_of(one.name) is not None]
            _evict(
                remaining, cache, needed=plan.to_load_bytes + plan.resumed_bytes, limit=int(LARGEST_SHARE * limit)
            )  # fmt: skip

    def _hand_on(self, listed: Sequence[ListedInput], work: StagingWork, cache: ObjectCache) -> None:
        before = staged_inputs()
        for one in listed:
            self._objects[one.given.written] = work.infos(one.given.written)
        owner = cache.owner_directory
        (owner / INPUTS_FILE).write_bytes(inputs_file(self._objects))
        hand_on_staged_inputs(
            StagedInputs(
                paths={**before.paths, **{one.given.written: one.path for one in listed}},
                urls={**before.urls, **dict(one.origin for one in listed)},
                summaries={
                    **before.summaries,
                    **{written: inputs_summary(objects) for written, objects in self._objects.items()},
                },
                list_file=str(owner / INPUTS_FILE),
            ),
            owner / _STAGED_FILE,
        )


def _refuse_without_links(cache: ObjectCache) -> None:
    try:
        (cache.owner_directory / "link").hardlink_to(cache.owner_directory / CLAIM_FILE)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        raise InvalidInput(
            f"--cache {cache.root}: its file system has no hard links ({error.strerror}), by which tasks share copies: "
            "give a directory on another one"
        ) from None


def _evict(objects: Collection[CachedObject], cache: ObjectCache, *, needed: int, limit: int) -> None:
    for name in evict_for(objects, needed=needed, limit=limit).names:
        cache.remove(name)
