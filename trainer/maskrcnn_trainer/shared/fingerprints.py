"""Fingerprints of one step: the recorded one, and those that older releases compute for the same step.

They are ordered oldest first, and the last one is the recorded one. Files have the first one in ``fingerprint``, the
only member that an older release reads, and all of them in ``fingerprints`` if there are several. A result belongs to a
step if they share a fingerprint: the operator only combines fingerprints that cover the same inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FINGERPRINT = "fingerprint"
FINGERPRINTS = "fingerprints"


def as_members(fingerprints: Sequence[str]) -> dict[str, Any]:
    """Return the members of a JSON object with the fingerprints of a step; empty without a fingerprint."""
    if not fingerprints:
        return {}
    several = {FINGERPRINTS: list(fingerprints)} if len(fingerprints) > 1 else {}
    return {FINGERPRINT: fingerprints[0], **several}


def fingerprints_in(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fingerprints in a JSON object, oldest first; empty if it has none or they aren't strings."""
    first, several = content.get(FINGERPRINT), content.get(FINGERPRINTS)
    if not isinstance(first, str) or not first:
        return ()
    if not isinstance(several, list) or not all(isinstance(value, str) and value for value in several):
        return (first,)
    return tuple(dict.fromkeys((first, *several)))


def fingerprint_of(content: Mapping[str, Any], expected: Sequence[str]) -> str | None:
    """Return the last expected fingerprint if a JSON object has any of them, else its first one, or None."""
    named = fingerprints_in(content)
    if not set(named).isdisjoint(expected):
        return expected[-1]
    return named[0] if named else None
