"""Amounts in the notation of Kubernetes, such as ``50Gi``."""

from __future__ import annotations

import re

LARGEST_QUANTITY = 2**63 - 1
"""Largest amount of a quantity in Kubernetes, which lowers larger ones to it."""

_QUANTITY = re.compile(
    r"\+?(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?:[eE](?P<exponent>[+-]?[0-9]+)|(?P<suffix>[numkMGTPE]|[KMGTPE]i))?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {f"{prefix}i": 10 * power for power, prefix in enumerate("KMGTPE", 1)}
_FURTHEST = 200
"""Bound of exponents: a quantity has at most 64 digits, so that further ones change nothing."""


def bytes_of(quantity: str) -> int:
    """Return the whole bytes of an amount, at most :data:`LARGEST_QUANTITY`; a part of a byte is left out.

    Args:
        quantity: a valid quantity of at most 64 characters.

    Raises:
        ValueError: it isn't a quantity.
    """
    found = _QUANTITY.fullmatch(quantity)
    if found is None or not (found["whole"] or found["part"]):
        raise ValueError(f"{quantity!r} isn't a quantity")
    part, suffix = found["part"] or "", found["suffix"] or ""
    exponent = int(found["exponent"] or _DECIMAL.get(suffix, 0))
    tens = max(-_FURTHEST, min(_FURTHEST, exponent)) - len(part)
    amount = int((found["whole"] or "") + part) << _BINARY.get(suffix, 0)
    ten: int = 10 ** abs(tens)
    return min(LARGEST_QUANTITY, amount * ten if tens >= 0 else amount // ten)
