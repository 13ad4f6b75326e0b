"""The key lists of these tests are those of the original models."""

from __future__ import annotations

import pytest
from tests.unit.weights.key_lists import LISTINGS, digest


@pytest.mark.parametrize("listing", LISTINGS)
def test_names_and_shapes_are_those_of_the_original_listing(listing: str) -> None:
    shapes_of, count, expected = LISTINGS[listing]
    shapes = shapes_of()
    assert (len(shapes), digest(shapes)) == (count, expected)
