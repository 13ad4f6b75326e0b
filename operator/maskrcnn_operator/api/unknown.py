"""Unknown field names in a manifest, and the fields that were probably meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import field_path
from maskrcnn_trainer.spec.parsing import meant_field, nearest_name, unknown_in_experiment

Location = tuple[int | str, ...]


@dataclass(frozen=True)
class UnknownName:
    """Unknown field name.

    Attributes:
        meant: location of the field that was probably meant; None if no name is similar.
        message: what is wrong, and what would be right.
    """

    meant: Location | None
    message: str


def unknown_name(location: Location) -> UnknownName:
    """Return the field meant and a message for the name at the end of pydantic's location of an unknown field."""
    start = _experiment_start(location)
    if start is not None:
        within = meant_field(location[start:])
        meant = None if within is None else (*location[:start], *(to_camel(str(name)) for name in within))
        return UnknownName(meant, unknown_in_experiment(location[start:], f"{field_path(location[:start])}."))
    names = {str(field.alias or name) for model in _owners(location) for name, field in model.model_fields.items()}
    near = nearest_name(str(location[-1]), sorted(names))
    if near is None:
        return UnknownName(None, "unknown field; check its name and indentation")
    return UnknownName((*location[:-1], near), f"unknown field; did you mean {near}?")


def _experiment_start(location: Location) -> int | None:
    """Return the position after ``spec.experiment`` or ``spec.steps[N].experiment``; None for other locations."""
    if location[:2] == ("spec", "experiment") and len(location) > 2:
        return 2
    if location[:2] == ("spec", "steps") and location[3:4] == ("experiment",) and len(location) > 4:
        return 4
    return None


def _owners(location: Location) -> list[type[BaseModel]]:
    """Return the types of the object that has the last name of a location; several for a union."""
    models: list[type[BaseModel]] = [MaskRCNNExperiment]
    for part in location[:-1]:
        annotations = [
            field.annotation
            for model in models
            for name, field in model.model_fields.items()
            if part == (field.alias or name)
        ]
        # a position in a list, or the branch of a union, does not change the type
        if annotations:
            models = [model for annotation in annotations for model in _models_in(annotation)]
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
