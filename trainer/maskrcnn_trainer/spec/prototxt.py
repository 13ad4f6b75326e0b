"""Spec of TAO Toolkit: protobuf text format, with lists as strings that hold Python literals.

The protobuf messages are made at run time from the spec's own types, in proto3 with field presence, so absent fields
differ from 0 (they didn't in TAO Toolkit).
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
from maskrcnn_trainer.spec.prototxt_syntax import FieldKind, line_and_column, syntax_faults
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
"""Values of TAO Toolkit for absent fields for which 0, false, or an empty list has a meaning."""

ZERO_IS_ABSENT = frozenset({"shuffle_buffer_size", "n_workers", "max_num_instances", "logging_frequency"})
"""Fields for which TAO Toolkit replaces 0 by its default."""

OURS = frozenset(
    {
        "deterministic",
        "scale_learning_rate",
        "keep_checkpoints",
        "augmentation",
        "tf32",
        "xla",
        "sync_bn",
        "freeze_bn_affine",
        "checkpoint_style",
        "checkpoint_config",
        "checkpoint_bn_epsilon",
        "checkpoint_class_names",
        "class_mapping",
        "anchor_offset",
        "anchor_rounding",
        "roi_max_level",
        "roi_aligned",
        "roi_sampling_ratio",
        "test_score_threshold",
        "test_candidate_limit",
    }
)
"""Fields that TAO Toolkit does not have; their absence from a prototxt isn't reported."""

WITHOUT_EFFECT = frozenset({"save_checkpoints_steps", "wandb_config", "clearml_config"})
"""Fields of TAO Toolkit that have no effect here."""


@dataclass(frozen=True)
class Prototxt:
    """Spec read from a prototxt.

    Attributes:
        spec: the checked spec.
        spelling: spelling of its fields in the file.
        filled: fields absent from the file, in dotted snake_case, with the value used for each.
        warnings: sentences for the log about how the file was read.
    """

    spec: ExperimentSpec
    spelling: Spelling
    filled: tuple[tuple[str, Any], ...]
    warnings: tuple[str, ...]


def _plain_type(annotation: Any) -> type:
    """Return int, float, bool, str, tuple, or Mapping for the annotation of a field."""
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
    float: _FIELD.TYPE_DOUBLE,  # 32 bits, as in TAO Toolkit, would change 0.0001 to 0.0000999999974
    bool: _FIELD.TYPE_BOOL,
    str: _FIELD.TYPE_STRING,
    tuple: _FIELD.TYPE_STRING,
}


def _describe(model: type[SpecModel], file: descriptor_pb2.FileDescriptorProto) -> str:
    """Add a message for a part of the spec, and for those within it; return its full name."""
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
        if plain is Mapping:  # TAO Toolkit has no such field
            continue
        if plain is tuple and name not in LIST_FIELDS:
            message.field.add(name=name, number=number, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_REPEATED)
            continue
        _add_optional(message, name, number, _PROTO_TYPES[plain])
    if _THRESHOLD[-1] in model.model_fields:
        _add_optional(message, SHORT_THRESHOLD, len(model.model_fields) + 1, _FIELD.TYPE_DOUBLE)
    file.message_type.append(message)
    return f"{_PACKAGE}.{message.name}"


def _add_optional(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: _FIELD.Type.ValueType) -> None:
    """Add a scalar field with presence, for which proto3 uses a oneof with a single member."""
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
    """Return the protobuf message class of a complete spec."""
    file = descriptor_pb2.FileDescriptorProto(name="maskrcnn/experiment.proto", package=_PACKAGE, syntax="proto3")
    name = _describe(ExperimentSpec, file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]  # the stubs of protobuf lack its types
    found = pool.FindMessageTypeByName(name)  # type: ignore[no-untyped-call]  # here too
    return message_factory.GetMessageClass(found)


def _kind_of(path: tuple[str, ...]) -> FieldKind | None:
    """Return whether a path of snake_case names is a value or a message of the spec; None if it is neither."""
    model: type[SpecModel] | None = ExperimentSpec
    kind: FieldKind | None = None
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
    """Return the text without the fields that have invalid syntax, and the problems of those fields.

    Raises:
        _Unreadable: nothing can be read after a fault, such as a missing brace.
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
    """Return the message, and the problems of the text; invalid fields are left out and the rest is read.

    Raises:
        _Unreadable: nothing can be read after a fault, such as a missing brace.
    """
    text, problems = _without_faults(text)
    found = occurrences(text)
    while True:
        message = message_class()()
        try:
            # as in TAO Toolkit: repeated fields are merged, and the last value is used
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
    """Return what would be right for a field whose value the parser refuses."""
    value = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    model: type[SpecModel] = ExperimentSpec
    for name in path[:-1]:
        nested = nested_model(model.model_fields[name]) if name in model.model_fields else None
        if nested is None:
            return words
        model = nested
    plain = path[-1] in model.model_fields and nested_model(model.model_fields[path[-1]]) is None
    if plain and value[:1] in "{<" and _plain_type(model.model_fields[path[-1]].annotation) is not Mapping:
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
        str: "must be a string in quotes",
        tuple: f"must be a list in quotes, such as {LIST_FIELDS[path[-1]][1]}"
        if path[-1] in LIST_FIELDS
        else "must be a string in quotes; repeat the field for several",
        Mapping: "cannot be given in a prototxt; give it in YAML, to which maskrcnn spec import converts the file",
    }[_plain_type(field.annotation)]
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", value) and right == "must be a number":
        right += f" with a decimal point: {value.replace(',', '.')}"
    return f"{value} {right}"


def _mapping(message: Message) -> dict[str, Any]:
    """Return the fields that are present, nested messages as mappings."""
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None:
            result[field.name] = _mapping(value)
        else:
            result[field.name] = list(value) if field.label == field.LABEL_REPEATED else value
    return result


def _fill(raw: dict[str, Any]) -> list[str]:
    """Set absent fields, in place, to the value that they have in TAO Toolkit; return warnings."""
    warnings = []
    if "momentum" not in raw:
        warnings.append("momentum is absent; using 0, as TAO Toolkit does (0.9 is usual)")
    for (*outer, name), value in LEGACY_WHEN_ABSENT.items():
        part = raw
        for section in outer:
            part = part.setdefault(str(section), {})
        part.setdefault(str(name), value)
    if raw.get("global_gradient_clip_ratio", 0) > 0:
        warnings.append("global_gradient_clip_ratio: gradients are clipped; TAO Toolkit ignores this field")
    return warnings


def _absent(spec: SpecModel, given: Mapping[str, Any], at: Path = ()) -> Iterator[tuple[str, Any]]:
    """Yield fields that are absent from the file, with their value in the spec."""
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
    """Remove filled-in fields from ``model_fields_set``, so that it only has the fields of the file."""
    spec.model_fields_set.intersection_update(given)
    for name in spec.model_fields_set:
        part, inner = getattr(spec, name), given[name]
        if isinstance(part, SpecModel) and isinstance(inner, dict):
            _mark_absent(part, inner)


def _present(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _present(value) if isinstance(value, dict) else value for name, value in raw.items()}


def parse_prototxt(text: str, source: str = "the prototxt spec") -> Prototxt:
    """Return the spec in a prototxt.

    Args:
        text: TAO Toolkit's experiment message in protobuf text format.
        source: name of the text in messages.

    Raises:
        SpecError: some fields are invalid; all of them are named, in snake_case as written.
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
            problems.append(Problem(_THRESHOLD, value, f"given twice, also as {SHORT_THRESHOLD}; remove one of them"))
        else:
            renamed[_THRESHOLD] = SHORT_THRESHOLD
        model[_THRESHOLD[-1]] = model.pop(SHORT_THRESHOLD)
    for part in (raw, raw.get("data_config", {})):
        for name in ZERO_IS_ABSENT & part.keys():
            if part[name] == 0:
                del part[name]
    given = _present(raw)
    scalars = (path for path in repeated(occurrences(text)) if not _many(path))
    warnings = [f"{dotted(path, str)} is given more than once; the last value is used" for path in scalars]
    warnings += _fill(raw)
    spec = parse_spec(raw, source=source, renamed=renamed, snake=True, found=problems)
    _mark_absent(spec, given)
    spelling = Spelling(raw, renamed=renamed, snake=True)
    return Prototxt(spec, spelling, tuple(_absent(spec, given)), tuple(warnings))


def _many(path: tuple[str, ...]) -> bool:
    """Return whether a field may be repeated: messages, which are merged, and lists of strings."""
    return path[-1] in ("tags", "augmentation", "checkpoint_class_names") or path[-1].endswith("_config")
