"""Partial experiment: the fields that one step changes.

The partial types are made from the complete ones, so they have the same fields, descriptions, and bounds. Every field
is optional and has no default: a default filled in by an API server would override the value of the experiment.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.experiment import ExperimentSpec


def nested_model(field: FieldInfo) -> type[SpecModel] | None:
    """Return the type of the spec part that a field holds, also for an optional one; None for a plain value."""
    annotation = field.annotation
    candidates = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((item for item in candidates if isinstance(item, type) and issubclass(item, SpecModel)), None)


def _partial(model: type[SpecModel]) -> type[SpecModel]:
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        nested = nested_model(field)
        plain: Any = _partial(nested) if nested else field.annotation
        for bound in field.metadata:
            plain = Annotated[plain, bound]
        fields[name] = (plain | None, Field(default=None, description=field.description))
    part: type[SpecModel] = create_model(
        f"Partial{model.__name__}", __base__=SpecModel, __module__=__name__, __doc__=model.__doc__, **fields
    )
    return part


if TYPE_CHECKING:

    class PartialExperimentSpec(SpecModel):
        """Any fields of :class:`ExperimentSpec`; absent fields keep the value of the experiment."""
else:
    PartialExperimentSpec = _partial(ExperimentSpec)
    PartialExperimentSpec.__doc__ = "Any fields of an experiment; absent fields keep the value of the experiment."


def camel_case(part: Mapping[str, Any], model: type[SpecModel] = ExperimentSpec) -> dict[str, Any]:
    """Return the same fields under their camelCase names; unknown names and null values are kept as they are."""
    known = _aliases(model)
    renamed: dict[str, Any] = {}
    for key, value in part.items():
        name, nested = known.get(key, (key, None))
        renamed[name] = camel_case(value, nested) if nested and isinstance(value, Mapping) else copy.deepcopy(value)
    return renamed


@functools.cache
def _aliases(model: type[SpecModel]) -> Mapping[str, tuple[str, type[SpecModel] | None]]:
    """Return by each name of a field its camelCase name and the type of the spec part that it holds."""
    found: dict[str, tuple[str, type[SpecModel] | None]] = {}
    for name, field in model.model_fields.items():
        found[name] = found[str(field.alias)] = str(field.alias), nested_model(field)
    return found


def _merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in override.items():
        if value is None:  # an API server drops a null, so a null means "absent" here too
            continue
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def merge_experiment(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment with the changes of a step: objects are merged by field, lists and scalars are replaced.

    Both are plain dictionaries as YAML gives them, with camelCase or snake_case names; the result is a new one in
    camelCase. It isn't checked: pass it to :func:`maskrcnn_trainer.spec.parse_spec`.
    """
    return _merged(camel_case(base), camel_case(override))
