"""Facts of a task for the report, the member ``facts`` of ``result.json``: its data set, or its model.

The member isn't in a termination message, and is absent in results of older releases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.results import recorded
from maskrcnn_trainer.results.recorded import NotRecorded, Unusable
from maskrcnn_trainer.shared.messages import RESULT_FILE, ResultKey

_MOST_READ = 1 << 20
_MOST_WRITTEN = 1 << 19
"""Limit of ``facts`` in bytes: a result.json of more than 1 MiB is not accepted as one of a task."""
_LONGEST_NAME = 200
_DTYPES = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class ClassObjects:
    """Objects of one class that a conversion wrote, without crowds.

    Attributes:
        id: raw category id.
        name: of the category.
        objects: number of objects.
        small, medium, large: objects with an area below 32**2 pixels, below 96**2, and of at least 96**2.
    """

    id: int
    name: str
    objects: int
    small: int
    medium: int
    large: int


@dataclass(frozen=True)
class ConversionFacts:
    """Facts of ``dataset_convert``.

    Attributes:
        images: number of records written.
        classes: all categories of the annotations, by id; None if they are too many to be recorded.
    """

    images: int
    classes: tuple[ClassObjects, ...] | None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; names are shortened to 200 characters."""
        classes = [asdict(one) | {"name": _utf8(one.name)[:_LONGEST_NAME]} for one in self.classes or ()]
        if self.classes is None or len(json.dumps(classes, indent=6)) > _MOST_WRITTEN:
            return {"images": self.images}
        return {"images": self.images, "classes": classes}


@dataclass(frozen=True)
class ModelFacts:
    """Facts of ``train``, ``prune``, and ``export``.

    Attributes:
        parameters: number of weights, including the moving statistics of batch normalization.
        dtype: fp32, fp16, or int8; None except for an export.
    """

    parameters: int
    dtype: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"parameters": self.parameters} | ({} if self.dtype is None else {"dtype": self.dtype})


def read_conversion_facts(results_dir: Path) -> ConversionFacts | NotRecorded:
    """Return the facts in the results directory of a conversion."""
    try:
        facts = _facts(results_dir)
        classes = facts.get("classes")
        if classes is not None and not isinstance(classes, list):
            raise Unusable("has no valid classes")
        found = None if classes is None else tuple(map(_class_objects, classes))
        if found is not None and len({one.id for one in found}) < len(found):
            raise Unusable("has a class twice")
        return ConversionFacts(recorded.whole_number(facts.get("images"), "number of images"), found)
    except Unusable as error:
        return NotRecorded(f"{RESULT_FILE} {error}")


def read_model_facts(results_dir: Path) -> ModelFacts | NotRecorded:
    """Return the facts in the results directory of a training, a pruning, or an export."""
    try:
        facts = _facts(results_dir)
        dtype = facts.get("dtype")
        if dtype is not None and dtype not in _DTYPES:
            raise Unusable("has no valid dtype")
        return ModelFacts(recorded.whole_number(facts.get("parameters"), "number of parameters"), dtype)
    except Unusable as error:
        return NotRecorded(f"{RESULT_FILE} {error}")


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()  # JSON may hold half of a surrogate pair


def _facts(results_dir: Path) -> Mapping[str, Any]:
    result = recorded.json_object(recorded.content_of(results_dir / RESULT_FILE, most=_MOST_READ))
    facts = result.get(ResultKey.FACTS)
    if not isinstance(facts, dict):
        raise Unusable("has no facts: an older release wrote it")
    return facts


def _class_objects(value: Any) -> ClassObjects:
    if not isinstance(value, dict):
        raise Unusable("has a class that is not an object")
    counts = [recorded.whole_number(value.get(name), f"number of {name}") for name in ("small", "medium", "large")]
    objects = recorded.whole_number(value.get("objects"), "number of objects")
    if sum(counts) != objects:
        raise Unusable("has a class whose objects by size are not all of its objects")
    return ClassObjects(
        recorded.whole_number(value.get("id"), "id of a class"),
        recorded.text(value.get("name"), "name of a class"),
        objects,
        *counts,
    )
