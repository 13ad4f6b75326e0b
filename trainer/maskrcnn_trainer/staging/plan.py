"""Plan of a staging: objects that are cached, those to load, and whether there is room for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.staging.published_inputs import PublishedInfo

LONGEST_SEGMENT = 255
"""Longest name of a file in bytes, on all common file systems."""

LARGEST_SHARE = 0.9
"""Share of a cache's limit at which staging stops: a pod whose emptyDir is over its limit is evicted."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class NeededObject:
    """Object that a task reads.

    Attributes:
        info: of the listing.
        name: in the cache.
        place: path relative to the directory that the task sees.
        published: file that a step has published under this key; None for any other object.
    """

    info: ObjectInfo
    name: str
    place: str
    published: PublishedInfo | None = None

    @property
    def recorded(self) -> ObjectInfo:
        """Return what the record of the inputs has of it."""
        return self.published or self.info


@dataclass(frozen=True)
class StagingPlan:
    """Objects of a staging.

    Attributes:
        cached: those that only need a link.
        to_load: the others, each once, the largest first, so that the last ones to end are short.
        to_load_bytes: of the latter, without what interrupted loads have left.
        resumed_bytes: that interrupted loads have left.
    """

    cached: tuple[NeededObject, ...]
    to_load: tuple[NeededObject, ...]
    to_load_bytes: int
    resumed_bytes: int


def plan_staging(needed: Iterable[NeededObject], cached: Mapping[str, int], partial: Mapping[str, int]) -> StagingPlan:
    """Return the plan for some objects.

    Args:
        needed: objects that the task reads.
        cached: size in bytes by name in the cache; one of another size than the object's is loaded again.
        partial: bytes that an interrupted load has written, by name; more than the object has are ignored.
    """
    have: list[NeededObject] = []
    load: dict[str, NeededObject] = {}
    for one in needed:
        if cached.get(one.name) == one.info.size:
            have.append(one)
        else:
            load.setdefault(one.name, one)
    resumed = sum(left for one in load.values() if 0 < (left := partial.get(one.name, 0)) <= one.info.size)
    ordered = sorted(load.values(), key=lambda one: (-one.info.size, one.info.key))
    total = sum(one.info.size for one in ordered)
    return StagingPlan(tuple(have), tuple(ordered), total - resumed, resumed)


def refuse_impossible_places(places: Sequence[str], field: str) -> None:
    """Refuse objects that no directory can hold together.

    Args:
        places: relative paths of the objects, with ``/`` between segments.
        field: whose URL names them, for the message.

    Raises:
        InvalidInput: a segment is longer than 255 bytes, or an object is the folder of another; the message has the
            names.
    """
    long = [place for place in places if any(len(part.encode()) > LONGEST_SEGMENT for part in place.split("/"))]
    if long:
        raise InvalidInput(
            f"{field}: {_listed(long)} has a part of more than {LONGEST_SEGMENT} bytes, which is too long for the name "
            "of a file: give these objects shorter keys",
            reason="InvalidData",
        )
    files = set(places)
    both = sorted({folder for place in places for folder in _folders(place) if folder in files})
    if both:
        raise InvalidInput(
            f"{field}: {_listed(both)} is an object and also the folder of others, which no file system can hold: move "
            "one of them",
            reason="InvalidData",
        )


def space_missing(plan: StagingPlan, *, free: int, limit: int | None, staged: int) -> str | None:
    """Return a sentence with the numbers if there is no room for what is to be loaded, else None.

    Args:
        plan: of the staging.
        free: bytes that are free on the disk of the cache.
        limit: of the cache in bytes; None for no other limit than the disk.
        staged: bytes in the cache that processes have staged, which cannot be removed.
    """
    if plan.to_load_bytes > free:
        return f"{plan.to_load_bytes:,} bytes are to be loaded, but {free:,} are free on the disk of the cache"
    whole = plan.to_load_bytes + plan.resumed_bytes
    usable = None if limit is None else int(LARGEST_SHARE * limit)
    if usable is not None and staged + whole > usable:
        return (
            f"{whole:,} bytes are to be loaded next to {staged:,} that are in use, but {LARGEST_SHARE:.0%} of the "
            f"cache's limit of {limit:,} are {usable:,}"
        )
    return None


def _folders(place: str) -> list[str]:
    parts = place.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name!r:.200}" for name in names[:_SHOWN]) + more
