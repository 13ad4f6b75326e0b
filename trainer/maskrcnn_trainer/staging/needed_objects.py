"""Objects that a URL or a pattern of URLs names, and the local path by which a task finds them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.shared.object_url import ObjectPattern, ObjectUrl
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.cache_names import cached_content_name, cached_name
from maskrcnn_trainer.staging.plan import NeededObject, refuse_impossible_places
from maskrcnn_trainer.staging.published_inputs import ObjectLookup, PublishedInfo

Companions = Callable[[str], str | None]
"""Given the name of an object, return the beginning of the names of others next to it that belong to it, or None."""

_WILDCARDS = str.maketrans({character: f"[{character}]" for character in "*?["})


@dataclass(frozen=True)
class NamedObjects:
    """Objects of one URL or pattern.

    Attributes:
        objects: with their places below a directory.
        path: by which the task finds them, relative to the same directory: of the file, of the directory (empty: the
            directory itself), or the pattern.
    """

    objects: tuple[NeededObject, ...]
    path: str


def objects_at(
    url: ObjectUrl,
    kind: InputKind,
    lookup: ObjectLookup,
    store: str,
    *,
    field: str,
    is_read: Callable[[str], bool] | None = None,
    companions: Companions | None = None,
    path: str = "",
) -> NamedObjects:
    """Return the objects at a URL.

    Args:
        url: without wildcards.
        kind: of the input, any but patterns.
        lookup: of its objects.
        store: text for the store in the names of a cache, see `cached_name`.
        field: that names the URL, for messages.
        is_read: whether the task reads an object of a directory, given its path relative to the directory; None: all.
        companions: see `Companions`; None: one object without others.
        path: below ``/workspace`` that the user wrote in place of the URL; empty: the URL was written.

    Raises:
        InvalidInput: there is no such object or directory, or a directory can't be made of it; the message has the URL
            or path as the user wrote it.
    """
    if companions is not None and (beginning := companions(url.key.rpartition("/")[2])) is not None:
        return _with_companions(url, beginning, lookup, store, field, path=path)
    if kind in (InputKind.FILE, InputKind.FILE_OR_DIRECTORY) and url.key:
        info = lookup.head(url.key)
        if info is not None:
            place = url.key.rpartition("/")[2]
            refuse_impossible_places([place], field)
            return NamedObjects((_needed(info, place, store),), place)
        if kind is InputKind.FILE:
            raise _absent(url, field, path)
    below = len(url.key) + 1 if url.key else 0
    found = [(info, info.key[below:]) for info in lookup.list(url.key) if info.key != url.key]
    if not found:
        problem = (
            f"{path} doesn't exist in the workspace: give the path of a directory that has files"
            if path
            else f"{url} has no objects below it: give the URL of a prefix of whole segments"
        )
        raise InvalidInput(f"{field}: {problem}", reason="InvalidData")
    return NamedObjects(_in_a_directory([one for one in found if is_read is None or is_read(one[1])], store, field), "")


def _with_companions(
    url: ObjectUrl, beginning: str, lookup: ObjectLookup, store: str, field: str, *, path: str
) -> NamedObjects:
    folder, _, name = url.key.rpartition("/")
    below = len(folder) + 1 if folder else 0
    found = [
        (info, place)
        for info in lookup.list(folder, recursive=False)
        if (place := info.key[below:]) == name or place.startswith(beginning)
    ]
    if not found:
        raise _absent(url, field, path)
    return NamedObjects(_in_a_directory(found, store, field), name)


def _absent(url: ObjectUrl, field: str, path: str) -> InvalidInput:
    problem = (
        f"{path} doesn't exist in the workspace: give the path of a file"
        if path
        else f"{url} does not exist: give the URL of an object, with its whole key"
    )
    return InvalidInput(f"{field}: {problem}", reason="InvalidData")


def objects_of_pattern(pattern: ObjectPattern, lookup: ObjectLookup, store: str, *, field: str) -> NamedObjects:
    """Return the objects that a pattern matches; there may be none, as for a pattern of files.

    Args:
        pattern: of URLs of one store.
        lookup: of the objects.
        store: text for the store in the names of a cache, see `cached_name`.
        field: that names the pattern, for messages.

    Raises:
        InvalidInput: no directory can hold all of them.
    """
    base = pattern.base
    if not pattern.pattern:
        info = lookup.head(base.key)
        place = base.key.rpartition("/")[2]
        objects = (_needed(info, place, store),) if info is not None else ()
        return NamedObjects(objects, place.translate(_WILDCARDS))
    below = len(base.key) + 1 if base.key else 0
    found = [
        (info, info.key[below:])
        for info in lookup.list(base.key, recursive="/" in pattern.pattern or "**" in pattern.pattern)
        if info.key != base.key and pattern.matches(ObjectUrl(base.scheme, base.container, info.key))
    ]
    return NamedObjects(_in_a_directory(found, store, field), pattern.pattern)


def _in_a_directory(found: Collection[tuple[ObjectInfo, str]], store: str, field: str) -> tuple[NeededObject, ...]:
    refuse_impossible_places([place for _, place in found], field)
    return tuple(_needed(info, place, store) for info, place in found)


def _needed(info: ObjectInfo, place: str, store: str) -> NeededObject:
    if isinstance(info, PublishedInfo):
        name = cached_content_name(store, info.sha256, info.size)
        return NeededObject(ObjectInfo(info.stored_key, info.size, ""), name, place, info)
    return NeededObject(info, cached_name(store, info.key, info.etag, info.size), place)
