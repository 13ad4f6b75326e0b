"""A validation rule of the CustomResourceDefinition: an expression in CEL, and what to tell the user where it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"]


@dataclass(frozen=True)
class CelRule:
    """One entry of ``x-kubernetes-validations``.

    Attributes:
        expression: must be true; ``self`` is the value that the rule stands at.
        message: the field and what would be right, on one line; also what the documentation shows.
        told: CEL for a message with the values that were found; ``message`` is shown where it fails.
        field: the field that an error is reported at, relative to where the rule stands, such as ``.nodes``.
        kind: what sort of error the API server calls it.
    """

    expression: str
    message: str
    told: str = ""
    field: str = ""
    kind: Kind = "FieldValueInvalid"

    def to_schema(self) -> dict[str, Any]:
        """The rule as the definition holds it."""
        found = {"rule": self.expression, "message": self.message}
        if self.told:
            found["messageExpression"] = self.told
        if self.field:
            found["fieldPath"] = self.field
        if self.kind != "FieldValueInvalid":
            found["reason"] = self.kind
        return found


def quoted(text: str) -> str:
    """A text as a CEL literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def any_of(*fields: str, of: str = "self") -> str:
    """CEL: at least one of the fields is given."""
    return "(" + " || ".join(f"has({of}.{field})" for field in fields) + ")"


def unchanged(field: str, *, optional: bool = False) -> str:
    """CEL at the root: a field of the spec is as it was; ``optional`` where it may be absent."""
    same = f"self.spec.{field} == oldSelf.spec.{field}"
    if not optional:
        return same
    return f"has(self.spec.{field}) == has(oldSelf.spec.{field}) && (!has(self.spec.{field}) || {same})"
