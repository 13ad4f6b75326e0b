"""Amounts in the notation of Kubernetes, in bytes."""

from __future__ import annotations

import pytest

from maskrcnn_operator.api.quantity import LARGEST_QUANTITY, bytes_of


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("12", 12),
        ("+12.", 12),
        (".5k", 500),
        ("1.5Gi", 3 * 2**29),
        ("50Gi", 50 * 2**30),
        ("3Ei", 3 * 2**60),
        ("1E", 10**18),
        ("1E3", 1000),
        ("2e-1", 0),
        ("1500m", 1),
        ("2000000u", 2),
        ("3000000000n", 3),
        ("0.1Ki", 102),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_bytes_are_exact_and_a_part_of_a_byte_is_left_out(quantity: str, expected: int) -> None:
    assert bytes_of(quantity) == expected


@pytest.mark.parametrize("quantity", ["8Ei", "1e999999999999999999999999"])
def test_amount_is_lowered_to_the_largest_one_of_kubernetes(quantity: str) -> None:
    assert bytes_of(quantity) == LARGEST_QUANTITY


@pytest.mark.parametrize("quantity", ["", ".", "Gi", "1K", "1 Gi", "-1", "١"])
def test_other_text_is_no_amount(quantity: str) -> None:
    with pytest.raises(ValueError, match="isn't a quantity"):
        bytes_of(quantity)
