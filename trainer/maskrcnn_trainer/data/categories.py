"""Agreement of category ids and names between training records, validation annotations, and a model."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput

log = logging.getLogger(__name__)

_SHOWN = 5


@dataclass(frozen=True)
class Categories:
    """Categories of one source.

    Attributes:
        source: its name in messages, such as ``valJsonFile /data/val.json``.
        names: the names of each id; an empty collection if the source has no name for the id.
        used: ids that have objects; None for all.
    """

    source: str
    names: Mapping[int, Collection[str]]
    used: Collection[int] | None = None

    def shown(self, ids: Iterable[int]) -> str:
        """Return ids with their names, the first few: ``3 "car", 7 "bus", ... (12)``."""
        some = sorted(ids)
        parts = [" ".join([str(one), *(f'"{name}"' for name in sorted(self.names.get(one, ())))]) for one in some]
        return _first(parts)

    def named(self) -> Iterator[tuple[int, str]]:
        """Yield each id that has objects with each of its names, in ascending order."""
        for number, names in sorted(self.names.items()):
            if self.used is None or number in self.used:
                for name in sorted(names):
                    yield number, name


def require_agreement(sources: Sequence[Categories], *, model: Categories | None = None) -> None:
    """Refuse an id that has two names, and a name that has two ids.

    Ids without objects are ignored. The comparison ignores case, Unicode form, and surrounding space; case matters only
    for names that differ by case within one source, such as the letters "a" and "A".

    Args:
        sources: categories of annotations and records.
        model: categories of a model. It is unknown which of its ids had objects, so an id that shares its name with an
            id of `sources` counts only if the model lacks that id.

    Raises:
        InvalidInput: an id has two names, or a name two ids; the message names both sources.
    """
    everything = [*([model] if model else []), *sources]
    distinct = _distinguished(everything)

    def key(name: str) -> str:
        return _exact(name) if _plain(name) in distinct else _plain(name)

    names, renamed = _names_by_id(everything, key)
    conflicting = {number for number, _ in renamed}
    conflicts = [sentence for _, sentence in renamed]
    ids: dict[str, dict[int, str]] = {}  # name: its ids, each with its first source
    for source in sources:
        for number, name in source.named():
            ids.setdefault(key(name), {}).setdefault(number, source.source)
    learned: dict[str, list[int]] = {}
    for number, name in model.named() if model else ():
        learned.setdefault(key(name), []).append(number)
    for same, found in ids.items():
        of_model = [one for one in learned.get(same, []) if one in found] or learned.get(same, [])
        places = dict.fromkeys(of_model, model.source) if model else {}
        places |= {number: where for number, where in found.items() if number not in places}
        if len(places) > 1 and not conflicting & places.keys():
            (one, where), (other, other_where) = list(places.items())[:2]
            both = f"ids {one} and {other}" if where == other_where else f"id {one} in {where} and id {other}"
            conflicts.append(f'"{names[one][0]}" has {both} in {other_where}')
    if conflicts:
        raise InvalidInput(
            f"category {_first(conflicts, '; ')}: every id must have one name and every name one id; correct the "
            "annotations, and convert the data set again",
            reason="InvalidData",
        )


def _names_by_id(
    sources: Iterable[Categories], key: Callable[[str], str]
) -> tuple[dict[int, tuple[str, str]], list[tuple[int, str]]]:
    """Return the first name of each id with its source, and a message for each later name that differs by ``key``."""
    names: dict[int, tuple[str, str]] = {}
    renamed: list[tuple[int, str]] = []
    for source in sources:
        for number, name in source.named():
            first, where = names.setdefault(number, (name, source.source))
            if key(first) != key(name):
                renamed.append((number, f'id {number} is "{first}" in {where} and "{name}" in {source.source}'))
    return names, renamed


def compare_categories(learned: Categories, validation: Categories, evaluated: Collection[int]) -> None:
    """Compare the categories of a model, or of its training records, with those that it is evaluated on.

    Categories that only one of them has are logged as a warning.

    Args:
        learned: the categories of the training records or of a model.
        validation: all categories of the validation annotations.
        evaluated: ids of the categories that have an object in the validation images.

    Raises:
        InvalidInput: the two have no category in common.
    """
    if not learned.names.keys() & validation.names.keys():
        raise InvalidInput(
            f"no category in common: {learned.shown(learned.names)} in {learned.source}; "
            f"{validation.shown(validation.names)} in {validation.source}; both must be of the same data set",
            reason="InvalidData",
        )
    unknown = evaluated - learned.names.keys()
    unmeasured = learned.names.keys() - validation.names.keys()
    remarks = []
    if unknown:
        remarks.append(f"{validation.shown(unknown)} have objects in {validation.source}, not in {learned.source}")
    if unmeasured:
        remarks.append(f"{learned.shown(unmeasured)} are in {learned.source}, not in {validation.source}")
    if remarks:
        log.warning("Categories differ, so some are not detected or not evaluated: %s", "; ".join(remarks))


def _distinguished(sources: Iterable[Categories]) -> set[str]:
    """Return the case-folded form of the names that one source uses for several ids, in different spellings."""
    distinct: set[str] = set()
    for source in sources:
        spelled: dict[str, dict[str, set[int]]] = {}
        for number, names in source.names.items():
            for name in names:
                spelled.setdefault(_plain(name), {}).setdefault(_exact(name), set()).add(number)
        distinct.update(plain for plain, forms in spelled.items() if len(set.union(*forms.values())) > 1 < len(forms))
    return distinct


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", _exact(name)).strip().casefold()


def _exact(name: str) -> str:
    # JSON may hold half of a surrogate pair; records store it in this escaped form.
    text = name.encode("utf-8", "backslashreplace").decode()
    return unicodedata.normalize("NFC", text).strip()


def _first(parts: Sequence[str], separator: str = ", ") -> str:
    more = [f"... ({len(parts)})"] if len(parts) > _SHOWN else []
    return separator.join([*parts[:_SHOWN], *more])
