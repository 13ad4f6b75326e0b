"""Statistics of filters, compared with numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn_trainer.pruning.norms import equalize, filter_norms, normalize


def test_the_norm_is_taken_over_everything_but_the_filters() -> None:
    # Filter 0 has 3 and 4 at different taps, filter 1 has 1, 2, and 2, and filter 2 is zero.
    kernel = np.zeros((2, 1, 2, 3), np.float32)
    kernel[0, 0, 0, 0], kernel[1, 0, 1, 0] = 3, -4
    kernel[0, 0, :, 1], kernel[1, 0, 0, 1] = (1, 2), -2
    np.testing.assert_allclose(filter_norms(kernel), [5, 3, 0])
    np.testing.assert_allclose(filter_norms(np.array([[3.0, 1.0], [4.0, 0.0]], np.float32)), [5, 1])


def test_max_makes_the_largest_one() -> None:
    np.testing.assert_allclose(normalize(np.array([5.0, 2.5, 0.0]), "max"), [1, 0.5, 0])


def test_l2_multiplies_by_the_number_of_filters() -> None:
    # |(3, 4)| = 5, two filters: 3 / 5 * 2 and 4 / 5 * 2.
    np.testing.assert_allclose(normalize(np.array([3.0, 4.0]), "L2"), [1.2, 1.6])
    # Equal filters of any size get the square root of their number.
    np.testing.assert_allclose(normalize(np.full(16, 0.01), "L2"), np.full(16, 4.0))


@pytest.mark.parametrize("normalizer", ["max", "L2"])
def test_a_layer_of_zeros_has_no_filter_that_matters(normalizer: str) -> None:
    np.testing.assert_array_equal(normalize(np.zeros(4), normalizer), np.zeros(4))


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("union", [0.9, 0.4, 1.0]),
        ("intersection", [0.1, 0.4, 0.0]),
        ("arithmetic_mean", [0.5, 0.4, 0.5]),
        ("geometric_mean", [0.3, 0.4, 0.0]),
    ],
)
def test_layers_that_are_added_get_one_statistic(criterion: str, expected: list[float]) -> None:
    both = [np.array([0.9, 0.4, 0.0]), np.array([0.1, 0.4, 1.0])]
    np.testing.assert_allclose(equalize(both, criterion), expected)
    np.testing.assert_allclose(equalize(both[:1], criterion), both[0])


def test_the_geometric_mean_of_three_is_a_cube_root() -> None:
    np.testing.assert_allclose(equalize([np.array([0.125]), np.array([1.0]), np.array([1.0])], "geometric_mean"), [0.5])
