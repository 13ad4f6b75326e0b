"""Staging: objects of a store as files of a directory, by way of the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.object_store.client import ObjectInfo, Part, StoreClient
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.loading_record import missing_parts, record_of, record_part
from maskrcnn_trainer.object_store.object_cache import ObjectCache
from maskrcnn_trainer.object_store.staging_plan import NeededObject, StagingPlan

OnLoaded = Callable[[int], None]
"""Called with a number of bytes that have just been written."""


@dataclass(frozen=True)
class StagingOutcome:
    """Result of a pass over the objects of a staging.

    Attributes:
        loaded_bytes: that came from the store.
        changed: objects that have another content than they were listed with; list them again.
        absent: objects that are gone since they were listed.
    """

    loaded_bytes: int
    changed: tuple[NeededObject, ...]
    absent: tuple[NeededObject, ...]


def load_planned(
    plan: StagingPlan, client: StoreClient, cache: ObjectCache, *, on_loaded: OnLoaded = lambda _: None
) -> StagingOutcome:
    """Load the objects of a plan into the cache.

    Parts of several objects are read at once; whatever an interruption leaves is used by the next call.

    Args:
        plan: of the staging.
        client: of the store.
        cache: that the objects come to.
        on_loaded: see `OnLoaded`.

    Raises:
        InvalidInput, TryAgain, Stopped, OSError: as methods of the client do; whole objects stay in the cache.
    """
    needed = {one.info.key: one for one in plan.to_load}
    left: dict[str, int] = {}
    outcomes: dict[str, ReadOutcome] = {}
    loaded = 0

    def count(_: Part, start: int, end: int) -> None:
        nonlocal loaded
        loaded += end - start
        on_loaded(end - start)

    for part, outcome in client.fetch(_parts(plan.to_load, cache, left), on_bytes=count):
        key = part.info.key
        if outcome is not ReadOutcome.DONE:
            outcomes[key] = outcome
            continue
        record_part(part)
        left[key] -= 1
        if left[key] == 0 and key not in outcomes:
            cache.complete(needed[key].name)
    for key in outcomes:
        partial = cache.partial(needed[key].name)
        partial.unlink(missing_ok=True)
        record_of(partial).unlink(missing_ok=True)
    return StagingOutcome(
        loaded,
        changed=tuple(needed[key] for key, outcome in outcomes.items() if outcome is ReadOutcome.CHANGED),
        absent=tuple(needed[key] for key, outcome in outcomes.items() if outcome is ReadOutcome.ABSENT),
    )


def link_staged(needed: Sequence[NeededObject], cache: ObjectCache, directory: Path) -> tuple[NeededObject, ...]:
    """Link objects from the cache to their places below a directory; return those that the cache lacks by now.

    Args:
        needed: objects whose places don't exist yet or were linked before.
        cache: that holds them.
        directory: of the task.
    """
    return tuple(
        one for one in needed if not (place := directory / one.place).exists() and not cache.stage(one.name, place)
    )


def _parts(to_load: Iterable[NeededObject], cache: ObjectCache, left: dict[str, int]) -> Iterator[Part]:
    """Yield the missing parts of each object, and note their number before the first of them."""
    for one in to_load:
        info: ObjectInfo = one.info
        missing = missing_parts(info, cache.partial(one.name))
        left[info.key] = len(missing)
        if missing:
            yield from missing
        else:
            cache.complete(one.name)
