"""Base class of the experiment spec's types, and the plain types of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

UINT32_MAX = 2**32 - 1


def _plain_schema(schema: dict[str, Any]) -> None:
    """Change a schema in place to what a CustomResourceDefinition accepts: no titles, no null."""
    schema.pop("title", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
        if "default" in field and field["default"] is None:
            del field["default"]
        choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
        if len(choices) == 1:
            del field["anyOf"]
            field.update(choices[0] | field)


class SpecModel(BaseModel):
    """Part of the spec: frozen, camelCase in YAML, snake_case in Python (both are read), no unknown fields.

    Types are strict: like an API server, they refuse the string "2" for a number.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        json_schema_extra=_plain_schema,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        """Drop fields that are null, as an API server does."""
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value


def _tuples(value: object) -> object:
    """Return lists, as YAML and JSON give them, as tuples, including nested ones."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _array(items: dict[str, Any], least: int | None = None, most: int | None = None) -> WithJsonSchema:
    """Return a JSON schema without prefixItems, which a CustomResourceDefinition does not support."""
    schema: dict[str, Any] = {"type": "array", "items": items}
    if least is not None:
        schema["minItems"] = least
    if most is not None:
        schema["maxItems"] = most
    return WithJsonSchema(schema)


_AS_TUPLE = BeforeValidator(_tuples)

MIN_SIDE = 128
MAX_SIDE = 8192
_Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
_Step = Annotated[int, Field(ge=1, le=UINT32_MAX)]
_Level = Annotated[float, Field(gt=0, le=1000)]
_Weight = Annotated[float, Field(gt=0, le=1000)]
_Ratio = Annotated[float, Field(gt=0, le=100)]
_Block = Annotated[int, Field(ge=0, le=4)]
_Scale = Annotated[float, Field(ge=0.1, le=3)]

ImageSize = Annotated[
    tuple[_Side, _Side], _AS_TUPLE, _array({"type": "integer", "minimum": MIN_SIDE, "maximum": MAX_SIDE}, 2, 2)
]
Steps = Annotated[
    tuple[_Step, ...],
    Field(max_length=64),
    _AS_TUPLE,
    _array({"type": "integer", "format": "int64", "minimum": 1, "maximum": UINT32_MAX}, None, 64),
]
DecayLevels = Annotated[
    tuple[_Level, ...],
    Field(max_length=64),
    _AS_TUPLE,
    _array({"type": "number", "exclusiveMinimum": 0, "maximum": 1000}, None, 64),
]
BoxWeights = Annotated[
    tuple[_Weight, _Weight, _Weight, _Weight],
    _AS_TUPLE,
    _array({"type": "number", "exclusiveMinimum": 0, "maximum": 1000}, 4, 4),
]
AspectRatios = Annotated[
    tuple[tuple[_Ratio, _Ratio], ...],
    Field(min_length=1, max_length=16),
    _AS_TUPLE,
    _array(
        {
            "type": "array",
            "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
            "minItems": 2,
            "maxItems": 2,
        },
        1,
        16,
    ),
]
Blocks = Annotated[
    tuple[_Block, ...], Field(max_length=5), _AS_TUPLE, _array({"type": "integer", "minimum": 0, "maximum": 4}, None, 5)
]
ScaleRange = Annotated[tuple[_Scale, _Scale], _AS_TUPLE, _array({"type": "number", "minimum": 0.1, "maximum": 3}, 2, 2)]
Tags = Annotated[
    tuple[Annotated[str, Field(max_length=256)], ...],
    Field(max_length=64),
    _AS_TUPLE,
    _array({"type": "string", "maxLength": 256}, None, 64),
]

CheckpointStyle = Literal[
    "torchvision", "detectron2", "detectron2-torchvision", "detectron2-d1compat", "mmdet-pytorch", "mmdet-caffe"
]
"""Names of `maskrcnn_trainer.weights.style`."""

_ClassName = Annotated[str, Field(min_length=1, max_length=256)]
ClassNames = Annotated[
    tuple[_ClassName, ...],
    Field(max_length=65536),
    _AS_TUPLE,
    _array({"type": "string", "minLength": 1, "maxLength": 256}, None, 65536),
]


class FrozenMapping(Mapping[str, str]):
    """Mapping of strings that cannot change, so that a spec with one is hashable; equal to a dict of its content."""

    __slots__ = ("_content",)

    def __init__(self, content: Mapping[str, str] | None = None) -> None:
        self._content = dict(content or {})

    def __getitem__(self, key: str) -> str:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __hash__(self) -> int:
        return hash(frozenset(self._content.items()))

    def __repr__(self) -> str:
        return repr(self._content)


ClassMapping = Annotated[
    Mapping[_ClassName, _ClassName],
    Field(max_length=1024),
    AfterValidator(FrozenMapping),
    PlainSerializer(dict),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 1024,
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 256},
        }
    ),
]
