"""Objects of the inputs of one staging, with every place at which the task finds each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.cache_names import cached_name
from maskrcnn_trainer.staging.needed_objects import Companions, NamedObjects
from maskrcnn_trainer.staging.plan import NeededObject


@dataclass(frozen=True)
class UrlInput:
    """Input in object storage.

    Attributes:
        written: the URL, the path below ``/workspace``, or one pattern of either, as the user wrote it.
        kind: of the input.
        field: field or flag that has it, for messages.
        is_read: whether the task reads an object of a directory, given its path below it; None: all of them.
        companions: see `Companions`; None: the object alone.
    """

    written: str
    kind: InputKind
    field: str
    is_read: Callable[[str], bool] | None = None
    companions: Companions | None = None


@dataclass(frozen=True)
class ListedInput:
    """Input whose objects are known.

    Attributes:
        given: the input.
        connection: to its store.
        above: URL, or path below the workspace, of the place that ``directory`` is a copy of.
        named: its objects.
        directory: to which they are linked.
    """

    given: UrlInput
    connection: StoreConnection
    above: str
    named: NamedObjects
    directory: Path

    @property
    def origin(self) -> tuple[str, str]:
        """Return a directory, and the URL or the path below the workspace that it is a copy of.

        Of a whole directory it is the one above: a report then finds files next to it by the paths that a task records.
        """
        above, _, name = self.above.rpartition("/")
        is_named = name == self.directory.name and not above.endswith("/")
        return (str(self.directory.parent), above) if is_named else (str(self.directory), self.above)

    @property
    def path(self) -> str:
        """Return the path, or the pattern, by which the task finds the input."""
        return str(self.directory / self.named.path)


def store_name(connection: StoreConnection) -> str:
    """Return a text that is equal for connections to the same container of the same store, without a secret."""
    return " ".join(
        (f"{connection.scheme}://{connection.container}", connection.endpoint or "-", connection.account or "-")
    )


class StagingWork:
    """Objects of several inputs.

    Args:
        listed: the inputs.
    """

    def __init__(self, listed: Sequence[ListedInput]) -> None:
        self._listed = listed
        self._found: dict[tuple[int, str], NeededObject] = {}
        self._places: dict[str, list[tuple[int, str]]] = {}
        self._changes: dict[str, int] = {}
        for index, one in enumerate(listed):
            for needed in one.named.objects:
                self._add(needed, (index, needed.place))

    def _add(self, needed: NeededObject, place: tuple[int, str]) -> None:
        self._found[place] = needed
        self._places.setdefault(needed.name, []).append(place)

    @property
    def objects(self) -> list[NeededObject]:
        """Return the objects, each once."""
        return [self._found[places[0]] for places in self._places.values()]

    def places(self, one: NeededObject) -> list[Path]:
        """Return the paths at which the task finds an object."""
        return [self._listed[index].directory / place for index, place in self._places[one.name]]

    def connection(self, one: NeededObject) -> StoreConnection:
        """Return the connection to the store of an object."""
        return self._listed[self._places[one.name][0][0]].connection

    def url(self, one: NeededObject) -> str:
        """Return the URL, or the path below the workspace, of an object, for messages."""
        index, place = self._places[one.name][0]
        return f"{self._listed[index].above}/{place}"

    def field(self, one: NeededObject) -> str:
        """Return the field whose input an object belongs to, for messages."""
        return self._listed[self._places[one.name][0][0]].given.field

    def replace(self, one: NeededObject, info: ObjectInfo) -> NeededObject:
        """Replace an object that has changed, and return its successor, which may be equal to it."""
        name = cached_name(store_name(self.connection(one)), info.key, info.etag, info.size)
        places = self._places.pop(one.name)
        for place in places:
            self._add(NeededObject(info, name, place[1]), place)
        return self._found[places[0]]

    def changes(self, one: NeededObject) -> int:
        """Count one more change of an object, and return their number."""
        key = self.url(one)
        self._changes[key] = self._changes.get(key, 0) + 1
        return self._changes[key]

    def infos(self, written: str) -> list[ObjectInfo]:
        """Return the objects of an input as they were staged."""
        return [one.recorded for (index, _), one in self._found.items() if self._listed[index].given.written == written]
