"""Agreement of ids and names of categories between training records, validation annotations and a model."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput

log = logging.getLogger(__name__)

_SHOWN = 5


@dataclass(frozen=True)
class Categories:
    """The categories of one source.

    Attributes:
        source: what messages call it, such as ``valJsonFile /data/val.json``.
        names: the names of each id; none where the source has no name for it.
    """

    source: str
    names: Mapping[int, Collection[str]]

    def shown(self, ids: Iterable[int]) -> str:
        """Return ids with their names, the first few: ``3 "car", 7 "bus", ... (12)``."""
        some = sorted(ids)
        parts = [" ".join([str(one), *(f'"{name}"' for name in sorted(self.names.get(one, ())))]) for one in some]
        return _first(parts)


def require_agreement(sources: Sequence[Categories]) -> None:
    """Refuse an id that has two names, and a name that has two ids.

    Names are compared without regard to case, Unicode form and surrounding space. Within one source several ids may
    share a name, since a data set may be converted like that; between two sources they may not.

    Raises:
        InvalidInput: naming both sources, both names or both ids.
    """
    conflicts: list[str] = []
    names: dict[int, tuple[str, str]] = {}  # id: the name as its first source has it, that source
    ids: dict[str, dict[int, str]] = {}  # name: its ids, each with its first source
    for source in sources:
        conflicting: set[int] = set()
        own_ids: dict[str, set[int]] = {}
        for number, own in sorted(source.names.items()):
            for name in sorted(own):
                own_ids.setdefault(_plain(name), set()).add(number)
                first, where = names.setdefault(number, (name, source.source))
                if _plain(first) != _plain(name):
                    conflicting.add(number)
                    conflicts.append(f'id {number} is "{first}" in {where} and "{name}" in {source.source}')
        for plain, numbers in own_ids.items():
            known = ids.setdefault(plain, {})
            if known and not numbers & known.keys() and not conflicting & {*numbers, *known}:
                other, where = next(iter(known.items()))
                name = names[other][0]
                conflicts.append(f'"{name}" has id {other} in {where} and id {min(numbers)} in {source.source}')
            for number in numbers:
                known.setdefault(number, source.source)
    if conflicts:
        raise InvalidInput(
            f"category {_first(conflicts, '; ')}: every id must have one name and every name one id; correct the "
            "annotations, and convert again what was converted from them",
            reason="InvalidData",
        )


def compare_categories(learned: Categories, validation: Categories, evaluated: Collection[int]) -> None:
    """Compare the categories that a model learns, or has learned, with those that it is evaluated on.

    Args:
        learned: the categories of the training records or of a model.
        validation: all categories of the validation annotations.
        evaluated: ids of those that have an object in the validation images.

    Raises:
        InvalidInput: the two have no category in common.
    """
    if not learned.names.keys() & validation.names.keys():
        raise InvalidInput(
            f"no category in common: {learned.source} has {learned.shown(learned.names)}; {validation.source} has "
            f"{validation.shown(validation.names)}; both must be of the same data set",
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
        log.warning("Categories differ, so some are missed or not measured: %s", "; ".join(remarks))


def _plain(name: str) -> str:
    # JSON may hold half of a surrogate pair, which records have in this form
    text = name.encode("utf-8", "backslashreplace").decode()
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _first(parts: Sequence[str], separator: str = ", ") -> str:
    more = [f"... ({len(parts)})"] if len(parts) > _SHOWN else []
    return separator.join([*parts[:_SHOWN], *more])
