"""From the category ids of a data set to the classes of a model, and back.

COCO's ids have gaps (80 categories, ids 1 to 90). A model with as many classes as the largest id plus one (0 is the
background) uses the ids as they are; one with as many classes as there are categories plus one numbers them 1..N in
rising order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from maskrcnn_trainer.errors import InvalidInput, content_of

if TYPE_CHECKING:
    from maskrcnn_trainer.model_files.model_file import ModelFile

log = logging.getLogger(__name__)

_SHOWN = 10


@dataclass(frozen=True)
class ClassMap:
    """The classes of a model.

    Attributes:
        ids: raw category ids in model order: ``ids[m - 1]`` belongs to model id m (1..K).
        names: their names, "" where the id is not in use or its name is unknown.
        num_classes: K + 1, the background (0) counted.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    num_classes: int

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.names) or self.num_classes != len(self.ids) + 1:
            raise InvalidInput(
                f"class map: {len(self.ids)} ids, {len(self.names)} names and {self.num_classes} classes do not fit: "
                "expected one name an id, and one class more than ids"
            )
        if len(set(self.ids)) != len(self.ids) or min(self.ids, default=1) < 1:
            raise InvalidInput(f"class map: ids {_list(self.ids)}: different numbers from 1 on are wanted")

    @cached_property
    def to_model(self) -> dict[int, int]:
        """Model id (1..K) of a raw category id."""
        return {raw: position + 1 for position, raw in enumerate(self.ids)}

    def to_raw(self, model_id: int) -> int:
        """Raw category id of a model id.

        Raises:
            InvalidInput: not in 1..K.
        """
        if not 1 <= model_id < self.num_classes:
            raise InvalidInput(f"class {model_id}: the model has classes 1 to {self.num_classes - 1}")
        return self.ids[model_id - 1]

    def name_of(self, raw_id: int) -> str:
        """Name of a raw category id; "" where unknown."""
        model_id = self.to_model.get(raw_id)
        return "" if model_id is None else self.names[model_id - 1]

    @property
    def identity(self) -> bool:
        """Whether model ids are the raw ids."""
        return self.ids == tuple(range(1, self.num_classes))

    def to_json(self) -> dict[str, Any]:
        """As plain lists and numbers, ready for ``json.dumps``."""
        return {"ids": list(self.ids), "names": list(self.names), "numClasses": self.num_classes}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ClassMap:
        """The inverse of :meth:`to_json`.

        Raises:
            InvalidInput: not the form that ``to_json`` gives.
        """
        try:
            return cls(
                ids=tuple(_whole(one) for one in value["ids"]),
                names=tuple(str(one) for one in value["names"]),
                num_classes=_whole(value["numClasses"]),
            )
        except KeyError as error:
            raise InvalidInput(f"class map: it has no field {error}") from error
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                "class map: not readable; expected an object with ids (whole numbers), names and numClasses"
            ) from error

    def require(self, num_classes: int) -> ClassMap:
        """Return this class map where it has as many classes as a network.

        Raises:
            InvalidInput: it has others.
        """
        if self.num_classes != num_classes:
            raise InvalidInput(f"class map: {self.num_classes} classes, but the network has {num_classes}")
        return self


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value


def class_map_of(model: ModelFile) -> ClassMap:
    """Return the class map of a model file.

    Raises:
        InvalidInput: it isn't one; the file is named.
    """
    with content_of(model.source):
        class_map = ClassMap.from_json(model.class_map)
        classes = model.architecture.get("num_classes")
        return class_map if type(classes) is not int else class_map.require(classes)


def same_class_map(old: ClassMap, new: ClassMap) -> bool:
    """Return whether weights trained with one class map mean the same with the other.

    A name that is unknown on one side agrees with any name.
    """
    named = zip(old.names, new.names, strict=False)
    return old.ids == new.ids and all(before == after for before, after in named if before and after)


def class_map_for(
    record_ids: Iterable[int] | Mapping[int, str], validation_ids: Mapping[int, str], num_classes: int
) -> ClassMap:
    """The class map of a training run.

    Args:
        record_ids: raw ids that occur in the training records (with names, where a mapping).
        validation_ids: id and name of the categories of the validation annotations.
        num_classes: of the spec, the background counted.

    Raises:
        InvalidInput: an id below 1, or ``num_classes`` is neither above the largest id nor N + 1.
    """
    training = set(record_ids)
    ids = sorted(training | set(validation_ids))
    if not ids:
        raise InvalidInput("no category: neither the training records nor the validation annotations name one")
    if ids[0] < 1:
        raise InvalidInput(f"category id {ids[0]}: ids start from 1 (0 is the background)")
    names = dict(validation_ids)
    if isinstance(record_ids, Mapping):  # these have objects; validation may have an id without any
        names |= {number: name for number, name in record_ids.items() if name}
    largest = ids[-1]
    if num_classes > largest:
        if num_classes > largest + 1:
            log.info(
                "numClasses %d is more than the largest category id + 1 = %d: %d classes stay unused",
                num_classes,
                largest + 1,
                num_classes - largest - 1,
            )
        order = tuple(range(1, num_classes))
    elif num_classes == len(ids) + 1:
        order = tuple(ids)
        log.info("numClasses %d = categories + 1: ids %s become 1 to %d", num_classes, _list(ids), len(ids))
    else:
        mapped = "" if len(ids) == largest else f" or to {len(ids) + 1} (ids mapped to 1 to {len(ids)})"
        raise InvalidInput(
            f"numClasses {num_classes}: the data has {len(ids)} categories with ids up to {largest}; "
            f"set it to {largest + 1} (ids kept as they are){mapped}"
        )
    return ClassMap(ids=order, names=tuple(str(names.get(one, "")) for one in order), num_classes=num_classes)


def _list(ids: Iterable[int]) -> str:
    shown = list(ids)
    text = ", ".join(map(str, shown[:_SHOWN]))
    return f"{text}, ... ({len(shown)})" if len(shown) > _SHOWN else text
