"""The original toolkit's spec: protobuf text, with lists as texts that hold Python literals.

The messages are described at run time from the spec's own types, in proto3 with field presence: what the file leaves
out is known, where the original could not distinguish it from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

from maskrcnn_trainer.spec.base import UINT32_MAX, SpecModel
from maskrcnn_trainer.spec.errors import Path, Problem, SpecError, dotted, shown
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.parsing import Spelling, parse_spec, unknown_field
from maskrcnn_trainer.spec.partial import nested_model
from maskrcnn_trainer.spec.prototxt_lists import LIST_FIELDS, read_lists
from maskrcnn_trainer.spec.prototxt_syntax import Kind, line_and_column, syntax_faults
from maskrcnn_trainer.spec.prototxt_text import at_position, blanked, occurrences, repeated

_PACKAGE = "maskrcnn"
_SHOWN = 80
_FIELD = descriptor_pb2.FieldDescriptorProto

SHORT_THRESHOLD = "test_rpn_nms_thresh"
_THRESHOLD: Path = ("maskrcnn_config", "test_rpn_nms_threshold")

LEGACY_WHEN_ABSENT: dict[Path, Any] = {
    ("momentum",): 0.0,
    ("l1_weight_decay",): 0.0,
    ("l2_weight_decay",): 0.0,
    ("use_amp",): False,
    ("visualize_images_summary",): False,
    ("data_config", "augment_input_data"): False,
    ("data_config", "skip_crowd_during_training"): False,
    ("maskrcnn_config", "freeze_bn"): False,
    ("maskrcnn_config", "freeze_blocks"): [],
}
"""What the original took for absent fields where 0, false, or an empty list means something."""

ZERO_IS_ABSENT = frozenset({"shuffle_buffer_size", "n_workers", "max_num_instances", "logging_frequency"})
"""Fields for whose 0 the original took its default."""

OURS = frozenset({"deterministic", "scale_learning_rate", "keep_checkpoints", "augmentation"})
"""Fields that the original does not have; their absence from a prototxt is no news."""

WITHOUT_EFFECT = frozenset({"save_checkpoints_steps", "wandb_config", "clearml_config"})
"""Fields of the original that do nothing here."""


@dataclass(frozen=True)
class Prototxt:
    """A prototxt, read.

    Attributes:
        spec: the checked spec.
        spelling: how its fields were written.
        filled: the fields that the file leaves out, dotted snake_case, with the value taken for each.
        warnings: what was read but may surprise.
    """

    spec: ExperimentSpec
    spelling: Spelling
    filled: tuple[tuple[str, Any], ...]
    warnings: tuple[str, ...]


def _plain_type(annotation: Any) -> type:
    """int, float, bool, str or tuple of a field's annotation."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _plain_type(next(item for item in get_args(annotation) if item is not type(None)))
    if origin is Annotated:
        return _plain_type(get_args(annotation)[0])
    if origin is Literal:
        return type(get_args(annotation)[0])
    plain: type = origin or annotation
    return plain


_PROTO_TYPES = {
    int: _FIELD.TYPE_UINT32,
    float: _FIELD.TYPE_DOUBLE,  # the original's 32 bits would turn 0.0001 into 0.0000999999974
    bool: _FIELD.TYPE_BOOL,
    str: _FIELD.TYPE_STRING,
    tuple: _FIELD.TYPE_STRING,
}


def _describe(model: type[SpecModel], file: descriptor_pb2.FileDescriptorProto) -> str:
    """Add a message for a part of the spec, and for those within it; its full name."""
    message = descriptor_pb2.DescriptorProto(name=model.__name__)
    for number, (name, field) in enumerate(model.model_fields.items(), start=1):
        nested = nested_model(field)
        if nested is not None:
            message.field.add(
                name=name,
                number=number,
                type=_FIELD.TYPE_MESSAGE,
                label=_FIELD.LABEL_OPTIONAL,
                type_name=f".{_describe(nested, file)}",
            )
            continue
        plain = _plain_type(field.annotation)
        if plain is tuple and name not in LIST_FIELDS:
            message.field.add(name=name, number=number, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_REPEATED)
            continue
        _add_optional(message, name, number, _PROTO_TYPES[plain])
    if _THRESHOLD[-1] in model.model_fields:
        _add_optional(message, SHORT_THRESHOLD, len(model.model_fields) + 1, _FIELD.TYPE_DOUBLE)
    file.message_type.append(message)
    return f"{_PACKAGE}.{message.name}"


def _add_optional(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: _FIELD.Type.ValueType) -> None:
    """A scalar with presence: proto3 keeps it in a oneof of its own."""
    message.oneof_decl.add(name=f"_{name}")
    message.field.add(
        name=name,
        number=number,
        type=kind,
        label=_FIELD.LABEL_OPTIONAL,
        proto3_optional=True,
        oneof_index=len(message.oneof_decl) - 1,
    )


@cache
def message_class() -> type[Message]:
    """The protobuf message of a whole spec."""
    file = descriptor_pb2.FileDescriptorProto(name="maskrcnn/experiment.proto", package=_PACKAGE, syntax="proto3")
    name = _describe(ExperimentSpec, file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]  # the stubs of protobuf lack its types
    found = pool.FindMessageTypeByName(name)  # type: ignore[no-untyped-call]  # here too
    return message_factory.GetMessageClass(found)


def _kind_of(path: tuple[str, ...]) -> Kind | None:
    """What a path of snake_case names stands for in the spec."""
    model: type[SpecModel] | None = ExperimentSpec
    kind: Kind | None = None
    for name in path:
        if model is None:
            return None
        if name == SHORT_THRESHOLD and _THRESHOLD[-1] in model.model_fields:
            model, kind = None, "value"
            continue
        field = model.model_fields.get(name)
        if field is None:
            return None
        model = nested_model(field)
        kind = "value" if model is None else "message"
    return kind


def _without_faults(text: str) -> tuple[str, list[Problem]]:
    """The text without the fields whose syntax is wrong, and what is wrong with them.

    Raises:
        _Unreadable: nothing can be read behind a fault, such as a missing brace.
    """
    problems: list[Problem] = []
    for fault in syntax_faults(text, _kind_of):
        line, column = line_and_column(text, fault.start)
        words = fault.words or _about(fault.path, fault.value, "cannot be read")
        place = f"{words} (line {line})" if fault.path else f"line {line}, column {column}: {words}"
        problems.append(Problem(fault.path, fault.value or None, place))
        if fault.fatal:
            raise _Unreadable(problems)
        text = blanked(text, fault.start, fault.end)
    return text, problems


class _Unreadable(Exception):
    def __init__(self, problems: list[Problem]) -> None:
        super().__init__()
        self.problems = problems


def _merge(text: str) -> tuple[Message, list[Problem]]:
    """The message, and what is wrong with the text; a field that is wrong is left out and the rest read on.

    Raises:
        _Unreadable: nothing can be read behind a fault, such as a missing brace.
    """
    text, problems = _without_faults(text)
    found = occurrences(text)
    while True:
        message = message_class()()
        try:
            # As the original: a field that stands twice is merged, the last value counts.
            text_format.Merge(text, message)
            return message, problems
        except text_format.ParseError as error:
            line, column = error.GetLine() or 1, error.GetColumn() or 1
            offset = sum(len(row) + 1 for row in text.split("\n")[: line - 1]) + column - 1
            field = at_position(found, offset)
            row = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
            words = (str(error).partition(" : ")[2] or str(error)).removeprefix(f"'{row}': ")
            if field is None or offset not in (field.start, field.value_start):
                raise _Unreadable([*problems, Problem((), None, f"line {line}, column {column}: {words}")]) from None
            value = text[field.value_start : field.end]
            problems.append(Problem(field.path, value, f"{_about(field.path, value, words)} (line {line})"))
            text = blanked(text, field.start, field.end)
            found.remove(field)


def _about(path: tuple[str, ...], value: str, words: str) -> str:
    """What would be right for a field whose value the parser refuses."""
    value = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    model: type[SpecModel] = ExperimentSpec
    for name in path[:-1]:
        nested = nested_model(model.model_fields[name]) if name in model.model_fields else None
        if nested is None:
            return words
        model = nested
    if path[-1] in model.model_fields and nested_model(model.model_fields[path[-1]]) is None and value[:1] in "{<":
        return f"must be a single value, not a message in {value[:1]}"
    if path[-1] == SHORT_THRESHOLD and _THRESHOLD[-1] in model.model_fields:
        return f"{value} must be a number"
    if path[-1] not in model.model_fields:
        return unknown_field(path, Spelling({}, snake=True))
    field = model.model_fields[path[-1]]
    if nested_model(field) is not None:
        return f"{shown(value)} must be a message of fields in braces"
    right = {
        int: f"must be a whole number from 0 to {UINT32_MAX}",
        float: "must be a number",
        bool: "must be True or False",
        str: "must be a text in quotes",
        tuple: f"must be a list in quotes, such as {LIST_FIELDS.get(path[-1], (str, 'tags'))[1]}",
    }[_plain_type(field.annotation)]
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", value) and right == "must be a number":
        right += f" with a point: {value.replace(',', '.')}"
    return f"{value} {right}"


def _mapping(message: Message) -> dict[str, Any]:
    """The fields that are present."""
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None:
            result[field.name] = _mapping(value)
        else:
            result[field.name] = list(value) if field.label == field.LABEL_REPEATED else value
    return result


def _fill(raw: dict[str, Any]) -> list[str]:
    """Give absent fields the value that they had in the original, in place; warnings."""
    warnings = []
    if "momentum" not in raw:
        warnings.append("momentum is absent and taken as 0, as in the original; 0.9 is usual")
    for (*outer, name), value in LEGACY_WHEN_ABSENT.items():
        part = raw
        for section in outer:
            part = part.setdefault(str(section), {})
        part.setdefault(str(name), value)
    if raw.get("global_gradient_clip_ratio", 0) > 0:
        warnings.append("global_gradient_clip_ratio is in effect: gradients are clipped, which the original never did")
    return warnings


def _absent(spec: SpecModel, given: Mapping[str, Any], at: Path = ()) -> Iterator[tuple[str, Any]]:
    """Fields that the file does not give, with the value that the spec has."""
    for name, field in type(spec).model_fields.items():
        if name in OURS or name in WITHOUT_EFFECT:
            continue
        value = getattr(spec, name)
        inner = given.get(name)
        if isinstance(value, SpecModel) and nested_model(field) is not None:
            yield from _absent(value, inner if isinstance(inner, dict) else {}, (*at, name))
        elif name not in given and value is not None:
            yield dotted((*at, name), str), value


def _mark_absent(spec: SpecModel, given: Mapping[str, Any]) -> None:
    """Leave only what the file gives in ``model_fields_set``: the values that were filled in look given otherwise."""
    spec.model_fields_set.intersection_update(given)
    for name in spec.model_fields_set:
        part, inner = getattr(spec, name), given[name]
        if isinstance(part, SpecModel) and isinstance(inner, dict):
            _mark_absent(part, inner)


def _present(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _present(value) if isinstance(value, dict) else value for name, value in raw.items()}


def parse_prototxt(text: str, source: str = "the prototxt spec") -> Prototxt:
    """The spec of a prototxt.

    Args:
        text: protobuf text of the original's experiment message.
        source: what messages call it.

    Raises:
        SpecError: names every field that is wrong, in snake_case as written.
    """
    try:
        message, problems = _merge(text)
    except _Unreadable as unreadable:
        spelling = Spelling({}, snake=True)
        raise SpecError(map(spelling.problem, unreadable.problems), source) from None
    raw = _mapping(message)
    problems += read_lists(raw)
    renamed: dict[Path, str] = {}
    model = raw.get("maskrcnn_config", {})
    if SHORT_THRESHOLD in model:
        if _THRESHOLD[-1] in model:
            value = model[SHORT_THRESHOLD]
            problems.append(Problem(_THRESHOLD, value, f"given twice, also as {SHORT_THRESHOLD}; one of them must go"))
        else:
            renamed[_THRESHOLD] = SHORT_THRESHOLD
        model[_THRESHOLD[-1]] = model.pop(SHORT_THRESHOLD)
    for part in (raw, raw.get("data_config", {})):
        for name in ZERO_IS_ABSENT & part.keys():
            if part[name] == 0:
                del part[name]
    given = _present(raw)
    scalars = (path for path in repeated(occurrences(text)) if not _many(path))
    warnings = [f"{dotted(path, str)} is given more than once; the last one counts" for path in scalars]
    warnings += _fill(raw)
    spec = parse_spec(raw, source=source, renamed=renamed, snake=True, found=problems)
    _mark_absent(spec, given)
    spelling = Spelling(raw, renamed=renamed, snake=True)
    return Prototxt(spec, spelling, tuple(_absent(spec, given)), tuple(warnings))


def _many(path: tuple[str, ...]) -> bool:
    """Whether a field may stand several times: messages, which are merged, and tags."""
    return path[-1] in ("tags", "augmentation") or path[-1].endswith("_config")
