"""Differences of specs: from the defaults, and between experiments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from maskrcnn_trainer.report.content import FieldDifference
from maskrcnn_trainer.report.inputs.paths import RecordedPaths
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.partial import nested_model

REQUIRED = "(required)"
VALUE_NOT_RECORDED = "not recorded"


def values_of(spec: ExperimentSpec, paths: RecordedPaths) -> dict[str, str]:
    """Return the value of each field as JSON text by its path, such as ``dataConfig.imageSize``.

    Args:
        spec: the spec.
        paths: gives paths below a workspace their ``/workspace`` form.
    """
    content = spec.model_dump(mode="json", by_alias=True)
    return {field: _text(_recorded(value, paths)) for field, value in _leaves(ExperimentSpec, content)}


def differences_from_defaults(values: Mapping[str, str]) -> tuple[FieldDifference, ...]:
    """Return the fields whose values differ from their defaults, in the order of the spec; see :func:`values_of`."""
    return tuple(
        FieldDifference(field, (default, values[field]))
        for field, default in _defaults().items()
        if field in values and values[field] != default
    )


def differences_between(specs: Sequence[Mapping[str, str] | None]) -> tuple[FieldDifference, ...]:
    """Return the fields whose values differ between specs; None is a spec that isn't recorded."""
    recorded = [values for values in specs if values is not None]
    fields = dict.fromkeys(field for values in recorded for field in values)
    return tuple(
        FieldDifference(
            field, tuple(VALUE_NOT_RECORDED if values is None else values.get(field, "null") for values in specs)
        )
        for field in fields
        if len({values.get(field, "null") for values in recorded}) > 1
    )


def _defaults() -> dict[str, str]:
    return dict(_default_values(ExperimentSpec, ""))


def _default_values(model: type[SpecModel], prefix: str) -> Iterator[tuple[str, str]]:
    for field in model.model_fields.values():
        name = f"{prefix}{field.alias}"
        nested = nested_model(field)
        if nested is not None:
            yield from _default_values(nested, f"{name}.")
        elif field.is_required():
            yield name, REQUIRED
        else:
            yield name, _text(field.get_default(call_default_factory=True))


def _leaves(model: type[SpecModel], content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in model.model_fields.values():
        name, nested, value = f"{prefix}{field.alias}", nested_model(field), content[str(field.alias)]
        if nested is not None and value is not None:
            yield from _leaves(nested, value, f"{name}.")
        else:
            yield name, value


def _recorded(value: Any, paths: RecordedPaths) -> Any:
    return ",".join(paths.recorded(part) for part in value.split(",")) if isinstance(value, str) else value


_text: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, default=dict).encode
