"""Validation rules of the CustomResourceDefinition: expressions in CEL, each with a message for the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

CelReason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"]


@dataclass(frozen=True)
class CelRule:
    """Entry of ``x-kubernetes-validations``.

    Attributes:
        expression: must be true; ``self`` is the value to which the rule applies.
        message: names the field and what would be right, on one line; the documentation shows it too.
        message_expression: CEL for a message with the values found; ``message`` is shown if it fails.
        field: field at which an error is reported, relative to the value, such as ``.nodes``.
        kind: reason that the API server gives with the error.
    """

    expression: str
    message: str
    message_expression: str = ""
    field: str = ""
    kind: CelReason = "FieldValueInvalid"

    def to_schema(self) -> dict[str, Any]:
        """Return the rule as a value of the CustomResourceDefinition."""
        found = {"rule": self.expression, "message": self.message}
        if self.message_expression:
            found["messageExpression"] = self.message_expression
        if self.field:
            found["fieldPath"] = self.field
        if self.kind != "FieldValueInvalid":
            found["reason"] = self.kind
        return found


def quoted(text: str) -> str:
    """Return a text as a CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def any_of(*fields: str, of: str = "self") -> str:
    """Return CEL that is true if at least one of the fields is given."""
    return "(" + " || ".join(f"has({of}.{field})" for field in fields) + ")"


def unchanged(field: str, *, optional: bool = False) -> str:
    """Return CEL for the root that is true if a field of the spec, which may be ``optional``, is unchanged."""
    same = f"self.spec.{field} == oldSelf.spec.{field}"
    if not optional:
        return same
    return f"has(self.spec.{field}) == has(oldSelf.spec.{field}) && (!has(self.spec.{field}) || {same})"
