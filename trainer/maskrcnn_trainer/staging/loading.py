"""Loading of the objects of one store into the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.object_store.client import PART_BYTES, ObjectInfo, Part, StoreClient
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.loading_record import missing_parts, record_part
from maskrcnn_trainer.staging.object_cache import ObjectCache
from maskrcnn_trainer.staging.plan import NeededObject
from maskrcnn_trainer.task.artifacts import file_sha256

OnLoaded = Callable[[int], None]
"""Called with a number of bytes that have just been written."""

OnWhole = Callable[[NeededObject], None]
"""Called with an object that the cache has as a whole from now on."""


@dataclass(frozen=True)
class StagingOutcome:
    """Result of a pass over the objects of a staging.

    Attributes:
        loaded_bytes: that came from the store.
        changed: objects that have another content than they were listed with; list them again.
        absent: objects that are gone since they were listed.
        elsewhere: objects that other processes load.
        damaged: published files that have another SHA-256 than their manifest states.
    """

    loaded_bytes: int
    changed: tuple[NeededObject, ...] = ()
    absent: tuple[NeededObject, ...] = ()
    elsewhere: tuple[NeededObject, ...] = ()
    damaged: tuple[NeededObject, ...] = ()


class _Pass:
    """Pass over the objects to load: those that are under way, with the number of their parts."""

    def __init__(self, cache: ObjectCache, on_whole: OnWhole, on_found: OnWhole) -> None:
        self.cache = cache
        self.on_whole = on_whole
        self.on_found = on_found
        self.elsewhere: list[NeededObject] = []
        self.damaged: list[NeededObject] = []
        self.left: dict[str, int] = {}

    def parts(self, to_load: Iterable[NeededObject]) -> Iterator[Part]:
        """Yield the missing parts of each object that no other process loads."""
        for one in to_load:
            # before the claim, which another process gives up when it has the whole object, and after it
            if self._is_whole(one):
                continue
            if not self.cache.claim(one.name):
                self.elsewhere.append(one)
                continue
            if self._is_whole(one):
                self.cache.release(one.name)
                continue
            path = self._partial(one)
            missing = missing_parts(one.info, path)
            self.left[one.name] = len(missing)
            if missing:
                yield from missing
            else:
                self.complete(one)

    def complete(self, one: NeededObject) -> None:
        if one.published is not None and file_sha256(self._partial(one)) != one.published.sha256:
            self.cache.discard(one.name)
            self.damaged.append(one)
            return
        self.cache.complete(one.name)
        self.on_whole(one)

    def _partial(self, one: NeededObject) -> Path:
        return self.cache.partial(one.name, several=one.info.size > PART_BYTES)

    def _is_whole(self, one: NeededObject) -> bool:
        if self.cache.size_of(one.name) != one.info.size:
            return False
        self.on_found(one)
        return True


def load_planned(
    to_load: Iterable[NeededObject],
    client: StoreClient,
    cache: ObjectCache,
    *,
    on_loaded: OnLoaded = lambda _: None,
    on_whole: OnWhole = lambda _: None,
    on_found: OnWhole = lambda _: None,
) -> StagingOutcome:
    """Load objects of one store into the cache.

    Parts of several objects are read at once; whatever an interruption leaves is used by the next call.

    Args:
        to_load: objects, each once.
        client: of the store.
        cache: that the objects come to.
        on_loaded: see `OnLoaded`.
        on_whole: see `OnWhole`; called for objects that this call has loaded.
        on_found: the same, for those that another process has loaded meanwhile.

    Raises:
        InvalidInput, TryAgain, Stopped, OSError: as methods of the client do; whole objects stay in the cache.
    """
    # by key and etag: an object may have changed between the listings of two inputs
    needed: dict[ObjectInfo, NeededObject] = {one.info: one for one in to_load}
    under_way = _Pass(cache, on_whole, on_found)
    outcomes: dict[ObjectInfo, ReadOutcome] = {}
    loaded = 0

    def count(_: Part, start: int, end: int) -> None:
        nonlocal loaded
        loaded += end - start
        on_loaded(end - start)

    try:
        for part, outcome in client.fetch(under_way.parts(needed.values()), on_bytes=count):
            one = needed[part.info]
            if outcome is not ReadOutcome.DONE:
                outcomes[part.info] = outcome
                continue
            if part.end - part.start < part.info.size:
                record_part(part)
            under_way.left[one.name] -= 1
            if under_way.left[one.name] == 0 and part.info not in outcomes:
                under_way.complete(one)
    finally:
        for name, parts in under_way.left.items():
            if parts:
                cache.release(name)
    for info in outcomes:
        cache.discard(needed[info].name)
    return StagingOutcome(
        loaded,
        changed=tuple(needed[info] for info, outcome in outcomes.items() if outcome is ReadOutcome.CHANGED),
        absent=tuple(needed[info] for info, outcome in outcomes.items() if outcome is ReadOutcome.ABSENT),
        elsewhere=tuple(under_way.elsewhere),
        damaged=tuple(under_way.damaged),
    )
