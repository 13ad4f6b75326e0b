"""Fingerprints of one step: the recorded one, and those by which images of older releases know the same step.

They stand oldest first, and the last one is the recorded one. Files name the first in ``fingerprint``, the only member
that an older release reads, and all of them in ``fingerprints`` where there are several. Results are those of a step
where they share one fingerprint with it: the operator only gives values together that cover the same inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FINGERPRINT = "fingerprint"
FINGERPRINTS = "fingerprints"


def as_members(fingerprints: Sequence[str]) -> dict[str, Any]:
    """Return the members of a JSON object that name the fingerprints of a step; none without a fingerprint."""
    if not fingerprints:
        return {}
    several = {FINGERPRINTS: list(fingerprints)} if len(fingerprints) > 1 else {}
    return {FINGERPRINT: fingerprints[0], **several}


def fingerprints_in(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fingerprints that a JSON object names, oldest first; none where it names none that are texts."""
    first, several = content.get(FINGERPRINT), content.get(FINGERPRINTS)
    if not isinstance(first, str) or not first:
        return ()
    if not isinstance(several, list) or not all(isinstance(value, str) and value for value in several):
        return (first,)
    return tuple(dict.fromkeys((first, *several)))


def fingerprint_of(content: Mapping[str, Any], expected: Sequence[str]) -> str | None:
    """Return the last of the expected fingerprints where a JSON object names any of them, else the first it names."""
    named = fingerprints_in(content)
    if not set(named).isdisjoint(expected):
        return expected[-1]
    return named[0] if named else None
