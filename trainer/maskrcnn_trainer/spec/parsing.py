"""Conversion of a plain mapping to a checked :class:`ExperimentSpec`, or to a list of all its problems."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.errors import Path, Problem, SpecError, dotted, shown
from maskrcnn_trainer.spec.experiment import WITHOUT_RULES, ExperimentSpec
from maskrcnn_trainer.spec.partial import camel_case, nested_model
from maskrcnn_trainer.spec.rules import check_rules
from maskrcnn_trainer.spelling import renamed

_STAND_INS: dict[Path, Any] = {
    ("init_learning_rate",): 0.01,
    ("data_config", "image_size"): [128, 128],
    ("data_config", "num_classes"): 2,
}
"""Values for required fields that are missing or invalid, so that the rules on other fields can still be checked."""


def field_paths(model: type[SpecModel] = ExperimentSpec, at: Path = ()) -> Iterator[Path]:
    """Yield the paths of all fields in snake_case, including those of nested parts."""
    for name, field in model.model_fields.items():
        yield (*at, name)
        if (nested := nested_model(field)) is not None:
            yield from field_paths(nested, (*at, name))


class Spelling:
    """Spelling of field names in messages: as in the user's mapping, or in its prevailing style if absent there.

    Args:
        raw: the mapping that was read.
        prefix: prefix of the fields in the file, such as ``spec.experiment.``.
        renamed: other names under which fields were written, by their path.
        snake: whether the prevailing style is snake_case; None: derived from the names at the top level.
        camel_only: snake_case names in the file are mistakes, so messages don't use them.
    """

    def __init__(
        self,
        raw: Mapping[str, Any],
        *,
        prefix: str = "",
        renamed: Mapping[Path, str] | None = None,
        snake: bool | None = None,
        camel_only: bool = False,
    ) -> None:
        self._raw = raw
        self._camel_only = camel_only
        self._prefix = prefix
        self._renamed = renamed or {}
        if snake is None:
            keys = [key for key in raw if isinstance(key, str)]
            snake = any("_" in key for key in keys) and not any(key != key.lower() for key in keys)
        self.snake = snake and not camel_only

    def style(self, name: str) -> str:
        """Return the name of a field in the prevailing style."""
        return name if self.snake else to_camel(name)

    def names(self) -> dict[str, str]:
        """Return the name of every field in the file, by its camelCase name; empty if none differs from it."""
        names = {to_camel(str(path[-1])): str(self._parts(path)[-1]) for path in field_paths()}
        differ = any(camel != written for camel, written in names.items())
        return names if differ and not self._camel_only else {}

    def text(self, message: str) -> str:
        """Return a message with field names spelled as in the file."""
        return renamed(message, self.names())

    def field(self, path: Path) -> str:
        """Return the field at a path of snake_case names, as the user wrote it or would write it."""
        return self._prefix + dotted(self._parts(path), str)

    def _parts(self, path: Path) -> Path:
        names: list[str | int] = []
        node: Any = self._raw
        for position, part in enumerate(path):
            if isinstance(part, int):
                names.append(part)
                continue
            written = self._renamed.get(path[: position + 1])
            if written is None:
                present = isinstance(node, Mapping)
                written = next((key for key in (part, to_camel(part)) if present and key in node), self.style(part))
            names.append(written)
            node = node.get(written) if isinstance(node, Mapping) else None
        return tuple(names)

    def problem(self, problem: Problem) -> Problem:
        """Return the same problem in the user's spelling."""
        return Problem(problem.path, problem.value, self.text(problem.message), self.field(problem.path))


def parse_spec(
    data: object,
    *,
    source: str = "the experiment spec",
    prefix: str = "",
    renamed: Mapping[Path, str] | None = None,
    snake: bool | None = None,
    camel_only: bool = False,
    found: Sequence[Problem] = (),
) -> ExperimentSpec:
    """Return a checked spec made from a plain mapping with camelCase or snake_case names.

    Args:
        data: the mapping, as YAML or JSON gives it; a null counts as absent.
        source: name of the mapping in messages, such as a file name.
        prefix: prefix of its fields in the file, such as ``spec.experiment.``.
        renamed: other names (neither camelCase nor snake_case) under which fields were written, by path.
        snake: whether messages use snake_case names; None: if the mapping does.
        camel_only: refuse snake_case names, as an API server does.
        found: problems that the reader has already found; their fields don't count as missing.

    Raises:
        SpecError: some fields are invalid; all of them are named.
    """
    if not isinstance(data, Mapping):
        raise SpecError([Problem((), data, f"{shown(data)} must be a mapping of fields", prefix.rstrip("."))], source)
    spelling = Spelling(data, prefix=prefix, renamed=renamed, snake=snake, camel_only=camel_only)
    problems = [*found, *_given_twice(data)]
    meant = {field for problem in found if (field := meant_field(_field_of(problem.path))) is not None}
    bad = {_field_of(problem.path) for problem in found}
    renamed_data = copy.deepcopy(dict(data)) if camel_only else camel_case(data)
    fields = {key: value for key, value in renamed_data.items() if value is not None}
    fields.setdefault("dataConfig", {})
    try:
        spec: ExperimentSpec | None = ExperimentSpec.model_validate(
            fields, context=WITHOUT_RULES, by_alias=True, by_name=False
        )
    except ValidationError as error:
        meant |= meant_fields(error)
        invalid = {
            (problem.path, problem.message): problem
            for problem in _field_problems(error, spelling, meant)
            if _field_of(problem.path) not in bad
        }
        problems += invalid.values()
        bad |= {_field_of(problem.path) for problem in invalid.values()} | meant
        spec = _without(fields, bad)
    if spec is not None:
        problems += check_rules(spec, frozenset(bad | meant))
    if spec is None or problems:
        raise SpecError([spelling.problem(problem) for problem in problems], source)
    return spec


def _given_twice(data: Mapping[str, Any], model: type[SpecModel] = ExperimentSpec, at: Path = ()) -> Iterator[Problem]:
    for name, field in model.model_fields.items():
        camel = to_camel(name)
        if camel != name and name in data and camel in data:
            yield Problem((*at, name), data[name], f"given twice, as '{camel}' and as '{name}'; remove one of them")
        nested = nested_model(field)
        inner = data.get(name, data.get(camel))
        if nested is not None and isinstance(inner, Mapping):
            yield from _given_twice(inner, nested, (*at, name))


def _field_of(path: Path) -> Path:
    """Return the field that a path is in, without positions in lists."""
    return tuple(part for part in path if isinstance(part, str))


def _without(fields: dict[str, Any], bad: set[Path]) -> ExperimentSpec | None:
    """Return the spec without its bad fields, with stand-ins for required ones; None if it is still invalid."""
    for path in sorted(bad, key=len):
        node: Any = fields
        for part in path[:-1]:
            node = node.get(to_camel(str(part)), {}) if isinstance(node, dict) else {}
        if path and isinstance(node, dict):
            node.pop(to_camel(str(path[-1])), None)
            node.pop(path[-1], None)
    if not isinstance(fields.get("dataConfig"), dict):
        fields["dataConfig"] = {}
    for stand_in, value in _STAND_INS.items():
        if any(path == stand_in[: len(path)] for path in bad):
            parent = fields["dataConfig"] if len(stand_in) > 1 else fields
            parent[to_camel(str(stand_in[-1]))] = value
    try:
        return ExperimentSpec.model_validate(fields, context=WITHOUT_RULES)
    except ValidationError:
        return None


def _snake_path(loc: tuple[str | int, ...]) -> tuple[Path, type[SpecModel] | None]:
    """Return a location of Pydantic in snake_case names, and the type of the part that it ends in."""
    model: type[SpecModel] | None = ExperimentSpec
    path: list[str | int] = []
    owner: type[SpecModel] | None = ExperimentSpec
    for part in loc:
        if part == "[key]":  # Pydantic's mark of a mapping's key, which is the part before it
            continue
        owner, known = model, None
        if model is not None:
            known = next((name for name, field in model.model_fields.items() if part in (name, field.alias)), None)
        path.append(known if known is not None else part)
        model = nested_model(model.model_fields[known]) if model is not None and known is not None else None
    return tuple(path), owner


def meant_fields(error: ValidationError) -> set[Path]:
    """Return the fields that unknown names are probably meant to be, so that they aren't reported as missing too."""
    found: set[Path] = set()
    for detail in error.errors(include_url=False):
        if detail["type"] == "extra_forbidden" and (field := meant_field(detail["loc"])) is not None:
            found.add(field)
    return found


def meant_field(loc: tuple[str | int, ...]) -> Path | None:
    """Return the field that a name at a location of the spec is probably meant to be, or None.

    A known name means itself. A name that differs from a field of its part only in spelling means that field; else the
    name of a field of another part means the field there.
    """
    path, owner = _snake_path(loc)
    if not path or owner is None:
        return None
    name, at = str(path[-1]), path[:-1]
    near = _nearest(name, owner)
    if near is not None and name.lower() in (near, near.replace("_", "")):
        return (*at, near)
    for section, field in ExperimentSpec.model_fields.items():
        nested = nested_model(field)
        for key in nested.model_fields if nested is not None else ():
            if name in (key, to_camel(key)):
                return section, key
    for key in ExperimentSpec.model_fields:
        if name in (key, to_camel(key)):
            return (key,)
    return (*at, near) if near is not None else None


def is_within(path: Path, fields: Iterable[Path]) -> bool:
    """Return whether a path is one of the fields or in one of them."""
    return any(path[: len(field)] == field for field in fields)


def _field_problems(error: ValidationError, spelling: Spelling, meant: set[Path]) -> Iterator[Problem]:
    details = error.errors(include_url=False)
    for detail in details:
        path, owner = _snake_path(detail["loc"])
        if detail["type"] == "missing" and is_within(path, meant):
            continue
        # Pydantic also reports a list with invalid entries as too short, since it doesn't count those
        if detail["type"] == "too_short" and any(
            other is not detail and other["loc"][: len(detail["loc"])] == detail["loc"] for other in details
        ):
            continue
        if detail["type"] == "missing" and path and isinstance(path[-1], int):
            path = path[:-1]
            yield Problem(path, list(detail["input"]), f"{shown(detail['input'])} has too few entries{_shape(path)}")
        elif detail["type"] == "missing" and owner is not None:
            description = owner.model_fields[str(path[-1])].description or ""
            yield Problem(path, None, f"is required: {description.rstrip('.').split('. ')[0]}")
        elif detail["type"] == "extra_forbidden":
            yield Problem(path, detail["input"], unknown_field(path, spelling))
        else:
            yield Problem(path, detail["input"], _in_words(detail, path))


_SHAPES = {
    "image_size": "[height, width]",
    "bbox_reg_weights": "[dy, dx, dh, dw]",
    "aspect_ratios": "a list of [width, height]",
    "scale_jitter": "[min, max]",
    "learning_rate_steps": "a list of whole numbers",
    "learning_rate_decay_levels": "a list of numbers",
    "freeze_blocks": "a list of whole numbers from 0 to 4",
    "tags": "a list of strings",
    "checkpoint_class_names": "a list of strings",
}


def _shape(path: Path) -> str:
    name = _field_of(path)[-1] if path else ""
    return f"; it must be {_SHAPES[str(name)]}" if name in _SHAPES else ""


def _bound(number: object) -> str:
    return f"{number:g}" if isinstance(number, float) and abs(number) < 1e6 else str(number)


_RIGHT = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be a string; put it in quotes",
    "string_too_long": "is too long; at most {max_length} characters",
    "string_too_short": "is too short; at least {min_length} characters",
    "literal_error": "must be one of {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "less_than": "must be less than {lt}",
    "tuple_type": "is not a list",
    "too_long": "has too many entries; at most {max_length}",
    "too_short": "has too few entries; at least {min_length}",
    "model_type": "must be a mapping of fields",
    "dict_type": "must be a mapping of fields",
    "mapping_type": "must be a mapping of fields",
    "invalid_key": "must be a string, as the name of every field",
}
"""What would be right, by Pydantic's type of error; names in braces are replaced from the context of the error."""


def what_is_right(detail: ErrorDetails) -> str:
    """Return in plain words what would be right where Pydantic found an error."""
    context = {key: _bound(value) for key, value in detail.get("ctx", {}).items()}
    return _RIGHT.get(detail["type"], detail["msg"].replace("{", "{{").replace("}", "}}")).format(**context)


def _in_words(detail: ErrorDetails, path: Path) -> str:
    """Return an error of Pydantic in plain words: the value and what would be right."""
    right = what_is_right(detail)
    if detail["type"] in ("tuple_type", "too_long", "too_short"):
        right += _shape(path)
    if path and path[-1] in ("min_level", "max_level"):
        right += "; levels other than minLevel 2 and maxLevel 5 or 6 are not supported"
    return f"{shown(detail['input'])} {right}"


def unknown_field(path: Path, spelling: Spelling) -> str:
    """Return the message for an unknown field, with the field that was probably meant."""
    meant = meant_field(path)
    if meant is None:
        return "unknown field; check its name"
    if meant[:-1] == _snake_path(path)[0][:-1]:
        return f"unknown field; did you mean {spelling.style(str(meant[-1]))}?"
    return f"unknown field; it belongs {'in ' + spelling.field(meant[:-1]) if len(meant) > 1 else 'at the top level'}"


def unknown_in_experiment(loc: tuple[str | int, ...], prefix: str) -> str:
    """Return the message for an unknown field in ``experiment`` of a manifest or of one of its steps.

    Args:
        loc: location below ``experiment``; its last name is the unknown field.
        prefix: path of ``experiment`` in the manifest, with a dot at the end.
    """
    return unknown_field(_snake_path(loc)[0], Spelling({}, prefix=prefix, snake=False))


def _nearest(name: str, owner: type[SpecModel] | None) -> str | None:
    """Return the snake_case name of the most similar field in a part of the spec."""
    return nearest_name(name, owner.model_fields if owner is not None else ())


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """Return the most similar of the names to a misspelled one; None if none is similar."""
    folded = {key.lower().replace("_", ""): key for key in names}
    near = difflib.get_close_matches(name.lower().replace("_", ""), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None
