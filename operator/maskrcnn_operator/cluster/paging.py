"""Lists read in pages that are bounded in objects and bytes.

An object may have 2 kB or about 1.5 MB. The length of a page follows from the object sizes in the page before; a page
that is too large is read again with fewer objects.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.resources import Object

log = logging.getLogger(__name__)

FIRST_PAGE = 10
"""Objects of a first page, whose sizes are unknown: at most 15 MB."""
LARGEST_PAGE = 200
PAGE_BYTES = 4 << 20
"""Target size of a page in bytes: decoding it blocks the event loop for about 50 ms."""
MOST_BYTES = 16 << 20
"""Size in bytes above which a page of several objects is abandoned."""

TOO_LARGE = "AnswerTooLarge"
"""Reason of the ApiError for a response that was abandoned because of its size."""
METADATA_ONLY = "PartialObjectMetadata"
"""Kind of an object of which only the metadata is known."""


class Page(NamedTuple):
    """Part of a list, with the version of the whole list."""

    items: Sequence[Object]
    version: int


@dataclass(frozen=True)
class Request:
    """Request for one page.

    Attributes:
        limit: most objects.
        position: the API server's continue token; empty for the start of the list.
        metadata_only: read only the metadata.
        most_bytes: raise ApiError (TOO_LARGE) if the response is larger; None for no bound.
        only: namespace and name of the one object to read; None for all.
    """

    limit: int
    position: str = ""
    metadata_only: bool = False
    most_bytes: int | None = None
    only: tuple[str | None, str] | None = None


class Answer(NamedTuple):
    """Response for a page, and its size in bytes."""

    body: Object
    size: int


Read = Callable[[Request], Awaitable[Answer]]
"""Function that reads one page and raises ApiError."""


def next_limit(objects: int, size: int) -> int:
    """Return the number of objects to request after a page of ``objects`` objects and ``size`` bytes."""
    if objects == 0 or size == 0:
        return FIRST_PAGE
    return max(1, min(LARGEST_PAGE, objects * PAGE_BYTES // size))


async def read_pages(read: Read, request: Request) -> AsyncIterator[Page]:
    """Yield all objects of a list, page by page; at least one page.

    A page that cannot be decoded is read one object at a time. For an object that cannot be decoded itself, only its
    metadata is yielded, as an object of the kind METADATA_ONLY.

    Raises:
        Gone: the list took so long that the API server no longer has its version; start again.
        ApiError: a page cannot be read.
    """
    while True:
        try:
            answer = await read(replace(request, most_bytes=MOST_BYTES if request.limit > 1 else None))
            items = _items(answer.body)
            limit = next_limit(len(items), answer.size)
        except ApiError as error:
            if error.reason == TOO_LARGE and request.limit > 1:
                request = replace(request, limit=request.limit // 4 or 1)
                continue
            if error.reason != UNDECODABLE or request.metadata_only:
                raise
            log.warning("Could not decode a page of a list, reading its objects one at a time: %s", error)
            answer = await read(replace(request, metadata_only=True))
            found = [await _whole(read, item) for item in _items(answer.body)]
            items, limit = [item for item in found if item is not None], FIRST_PAGE
        metadata = answer.body["metadata"]
        yield Page(items, version_of(metadata))
        position = metadata.get("continue")
        if not position:
            return
        request = replace(request, limit=limit, position=position)


def version_of(metadata: Any) -> int:
    """Return the resourceVersion in the metadata of an object or a list; 0 if it has none."""
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return int(version) if isinstance(version, str) and version.isdecimal() and len(version) < 20 else 0


async def _whole(read: Read, partial: Object) -> Object | None:
    """Return the object that the metadata belongs to; None if it no longer exists."""
    metadata = partial["metadata"]
    try:
        answer = await read(Request(1, only=(metadata.get("namespace"), metadata["name"])))
    except ApiError as error:
        if error.reason != UNDECODABLE:
            raise
        return {**partial, "kind": METADATA_ONLY}
    return next(iter(_items(answer.body)), None)


def _items(body: Any) -> list[Object]:
    items = body.get("items") or [] if isinstance(body, dict) else None
    if not isinstance(items, list) or not isinstance(body.get("metadata"), dict):
        raise ApiError(200, UNDECODABLE, "the response isn't a list of objects")
    return [item for item in items if _is_object(item)]


def _is_object(item: Any) -> bool:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(metadata, dict) and all(isinstance(metadata.get(key), str) for key in ("uid", "name"))
