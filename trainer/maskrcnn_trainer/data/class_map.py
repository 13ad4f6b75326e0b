"""Mapping between the category ids of a data set and the classes of a model.

COCO's ids have gaps (80 categories, ids 1 to 90). If a model has as many classes as the largest id plus one (0 is the
background), it uses the ids as they are. If it has as many classes as there are categories plus one, the ids are mapped
to 1..N in ascending order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from maskrcnn_trainer.errors import InvalidInput, content_of
from maskrcnn_trainer.model.architecture import read_whole_number

if TYPE_CHECKING:
    from maskrcnn_trainer.model_files.model_file import ModelFile

log = logging.getLogger(__name__)

BACKGROUND_LABEL = "BG"
"""Name of class 0, the background, in the first line of a labels file of DeepStream."""

_SHOWN = 10


@dataclass(frozen=True)
class ClassMap:
    """Classes of a model.

    Attributes:
        ids: raw category ids in model order: ``ids[m - 1]`` belongs to model id m (1..K). They are distinct and at
            least 1.
        names: their names; "" if the id is not in use or its name is unknown.
        num_classes: K + 1, including the background (0).

    Raises:
        InvalidInput: the numbers of ids, names, and classes do not match, or an id is below 1 or repeated.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    num_classes: int

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.names) or self.num_classes != len(self.ids) + 1:
            raise InvalidInput(
                f"class map: {len(self.ids)} ids, {len(self.names)} names and {self.num_classes} classes do not match: "
                "expected one name for each id, and one more class than ids"
            )
        if len(set(self.ids)) != len(self.ids) or min(self.ids, default=1) < 1:
            raise InvalidInput(f"class map: ids {_list(self.ids)}: expected distinct numbers of at least 1")

    @cached_property
    def to_model(self) -> dict[int, int]:
        """Model id (1..K) of a raw category id."""
        return {raw: position + 1 for position, raw in enumerate(self.ids)}

    def to_raw(self, model_id: int) -> int:
        """Return the raw category id of a model id.

        Raises:
            InvalidInput: ``model_id`` is not in 1..K.
        """
        if not 1 <= model_id < self.num_classes:
            raise InvalidInput(f"class {model_id}: the model has classes 1 to {self.num_classes - 1}")
        return self.ids[model_id - 1]

    def name_of(self, raw_id: int) -> str:
        """Return the name of a raw category id; "" if unknown."""
        model_id = self.to_model.get(raw_id)
        return "" if model_id is None else self.names[model_id - 1]

    @property
    def identity(self) -> bool:
        """True if model ids equal the raw ids."""
        return self.ids == tuple(range(1, self.num_classes))

    def to_json(self) -> dict[str, Any]:
        """Return the class map as plain lists and numbers, ready for ``json.dumps``."""
        return {"ids": list(self.ids), "names": list(self.names), "numClasses": self.num_classes}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ClassMap:
        """Create a class map from the result of :meth:`to_json`.

        Raises:
            InvalidInput: ``value`` does not have the form that ``to_json`` returns.
        """
        try:
            return cls(
                ids=tuple(read_whole_number(one) for one in value["ids"]),
                names=tuple(str(one) for one in value["names"]),
                num_classes=read_whole_number(value["numClasses"]),
            )
        except KeyError as error:
            raise InvalidInput(f"class map: the field {error} is missing") from error
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                "class map: not readable; expected an object with ids (whole numbers), names, and numClasses"
            ) from error

    def require(self, num_classes: int) -> ClassMap:
        """Return this class map if it has as many classes as a network.

        Args:
            num_classes: of the network, including the background.

        Raises:
            InvalidInput: the numbers differ.
        """
        if self.num_classes != num_classes:
            raise InvalidInput(f"class map: {self.num_classes} classes, but the network has {num_classes}")
        return self


def class_map_of(model: ModelFile) -> ClassMap:
    """Return the class map of a model file.

    Raises:
        InvalidInput: the model's class map is invalid; the message names the file.
    """
    with content_of(model.source):
        class_map = ClassMap.from_json(model.class_map)
        classes = model.architecture.get("num_classes")
        return class_map if type(classes) is not int else class_map.require(classes)


def same_class_map(old: ClassMap, new: ClassMap) -> bool:
    """Return whether weights that were trained with one class map can be used with the other.

    An unknown name on one side matches any name.
    """
    named = zip(old.names, new.names, strict=False)
    return old.ids == new.ids and all(before == after for before, after in named if before and after)


def class_map_for(
    record_ids: Iterable[int] | Mapping[int, str], validation_ids: Mapping[int, str], num_classes: int
) -> ClassMap:
    """Return the class map of a training run.

    Args:
        record_ids: raw ids that occur in the training records; a mapping also has their names.
        validation_ids: id and name of the categories of the validation annotations.
        num_classes: of the spec, including the background.

    Raises:
        InvalidInput: there is no category, an id is below 1, or ``num_classes`` is neither above the largest id nor the
            number of categories plus one.
    """
    training = set(record_ids)
    ids = sorted(training | set(validation_ids))
    if not ids:
        raise InvalidInput("no category: neither the training records nor the validation annotations name one")
    if ids[0] < 1:
        raise InvalidInput(f"category id {ids[0]}: ids start from 1 (0 is the background)")
    names = dict(validation_ids)
    if isinstance(record_ids, Mapping):  # these ids have objects; those of the validation may have none
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
