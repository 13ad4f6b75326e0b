"""Validation rules of the CustomResourceDefinition: expressions in CEL, each with a message for the user."""

from __future__ import annotations

from collections.abc import Callable
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
        reads_older: ``oldSelf`` is the value before the write, as an optional that is empty at a creation.
    """

    expression: str
    message: str
    message_expression: str = ""
    field: str = ""
    kind: CelReason = "FieldValueInvalid"
    reads_older: bool = False

    def to_schema(self) -> dict[str, Any]:
        """Return the rule as a value of the CustomResourceDefinition."""
        found: dict[str, Any] = {"rule": self.expression, "message": self.message}
        if self.message_expression:
            found["messageExpression"] = self.message_expression
        if self.field:
            found["fieldPath"] = self.field
        if self.kind != "FieldValueInvalid":
            found["reason"] = self.kind
        if self.reads_older:
            found["optionalOldSelf"] = True
        return found


def unless_broken_before(expression: Callable[[str], str], message: str, *, field: str) -> CelRule:
    """Return a rule that a value keeps to, unless it didn't before the write.

    It is for rules that are newer than stored objects, of which the operator must still be able to write the status.
    The API server skips a rule for a value that doesn't change, but takes none for unchanged that contains an object
    with unknown fields (``x-kubernetes-preserve-unknown-fields``), such as an affinity.

    Args:
        expression: returns the rule in CEL about the value that its argument names.
        message: as in :class:`CelRule`.
        field: as in :class:`CelRule`.
    """
    kept = f"{expression('self')} || (oldSelf.hasValue() && !({expression('oldSelf.value()')}))"
    return CelRule(kept, message, field=field, reads_older=True)


def quoted(text: str) -> str:
    """Return a text as a CEL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def any_of(*fields: str, of: str = "self") -> str:
    """Return CEL that is true if at least one of the fields is given."""
    return "(" + " || ".join(f"has({of}.{field})" for field in fields) + ")"


def unchanged(field: str, *, optional: bool = False, compared: str = "") -> str:
    """Return CEL for the root that is true if a field of the spec is unchanged.

    Args:
        field: path below the spec; only its last part may be absent.
        optional: whether it may be absent.
        compared: path below the field that is compared instead of all of it, such as ``.name``.
    """
    same = f"self.spec.{field}{compared} == oldSelf.spec.{field}{compared}"
    if not optional:
        return same
    return f"has(self.spec.{field}) == has(oldSelf.spec.{field}) && (!has(self.spec.{field}) || {same})"
