"""Number and choice of the filters kept, compared with results computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.pruning.retain import (
    PruneSettings,
    check_excluded,
    retained_count,
    retained_filters,
    retained_of_group,
)


@pytest.mark.parametrize(
    ("above", "depth", "minimum", "granularity", "kept"),
    [
        (20, 64, 16, 8, 24),  # rounded up, not to the nearest
        (24, 64, 16, 8, 24),  # a multiple stays
        (3, 64, 16, 8, 16),  # the minimum
        (3, 64, 10, 8, 16),  # the minimum is rounded up too
        (0, 12, 16, 8, 12),  # at most all of them
        (63, 64, 16, 48, 64),  # rounding stops at all of them
        (9, 10, 0, 8, 10),  # also if their number is not a multiple
        (0, 64, 0, 8, 0),
        (5, 64, 1, 1, 5),
    ],
)
def test_retained_count_is_rounded_and_bounded(
    above: int, depth: int, minimum: int, granularity: int, kept: int
) -> None:
    assert retained_count(above, depth, min_num_filters=minimum, granularity=granularity) == kept


def settings(threshold: float, *, minimum: int = 1, granularity: int = 1, **others: str) -> PruneSettings:
    return PruneSettings(threshold=threshold, min_num_filters=minimum, granularity=granularity, **others)  # type: ignore[arg-type]


def test_filter_at_the_threshold_is_removed() -> None:
    statistic = np.array([0.5, 0.2, 1.0, 0.75])
    np.testing.assert_array_equal(retained_filters(statistic, settings(0.5)), [2, 3])
    np.testing.assert_array_equal(retained_filters(statistic, settings(0.4999)), [0, 2, 3])


def test_rounding_up_takes_the_best_of_those_below() -> None:
    statistic = np.array([0.1, 0.4, 1.0, 0.3, 0.9])
    np.testing.assert_array_equal(retained_filters(statistic, settings(0.5, granularity=3)), [1, 2, 4])


def test_the_minimum_takes_the_best_and_of_equal_ones_the_first() -> None:
    statistic = np.array([0.2, 0.1, 0.2, 0.2])
    np.testing.assert_array_equal(retained_filters(statistic, settings(0.5, minimum=2)), [0, 2])


def test_group_is_pruned_by_its_criterion() -> None:
    kernels = {
        "shortcut": np.array([[1.0, 0.1, 0.6, 0.1]], np.float32),
        "conv_2": np.array([[0.1, 0.1, 2.0, 4.0]], np.float32),  # normalized: 0.025, 0.025, 0.5, 1
    }
    kept = {
        criterion: retained_of_group(kernels, settings(0.45, criterion=criterion)).tolist()
        for criterion in ("union", "intersection", "arithmetic_mean", "geometric_mean")
    }
    # Statistics: max 1, .1, .6, 1; min .025, .025, .5, .1; mean .5125, .0625, .55, .55; root of the product .158, .05,
    # .548, .316.
    assert kept == {
        "union": [0, 2, 3],
        "intersection": [2],
        "arithmetic_mean": [0, 2, 3],
        "geometric_mean": [2],
    }


def test_each_layer_of_a_group_is_normalized_by_itself() -> None:
    kernels = {"small": np.array([[0.01, 0.001]], np.float32), "large": np.array([[1.0, 100.0]], np.float32)}
    np.testing.assert_array_equal(retained_of_group(kernels, settings(0.5, criterion="union")), [0, 1])


def test_l2_normalizer_needs_another_threshold() -> None:
    kernel = {"conv1": np.array([[3.0, 4.0]], np.float32)}  # 1.2 and 1.6
    assert retained_of_group(kernel, settings(1.3, normalizer="L2")).tolist() == [1]
    assert retained_of_group(kernel, settings(0.7, normalizer="max")).tolist() == [0, 1]


def test_a_layer_that_would_lose_everything_is_named() -> None:
    kernel = {"conv1": np.ones((1, 2), np.float32)}
    with pytest.raises(InvalidInput, match="nothing would be left of conv1.*--min-num-filters is 0"):
        retained_of_group(kernel, settings(1.0, minimum=0))
    with pytest.raises(InvalidInput, match="conv1/kernel holds values that are not finite"):
        retained_of_group({"conv1": np.array([[np.nan, 1.0]], np.float32)}, settings(0.1))


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("normalizer", "l2", "--normalizer l2"),
        ("criterion", "mean", "--equalization-criterion mean"),
        ("granularity", 0, "--pruning-granularity 0"),
        ("threshold", float("nan"), "--pruning-threshold nan"),
        ("threshold", -0.1, "--pruning-threshold -0.1"),
        ("min_num_filters", -1, "--min-num-filters -1"),
    ],
)
def test_impossible_settings_name_their_flag(field: str, value: object, flag: str) -> None:
    with pytest.raises(InvalidInput, match=flag):
        PruneSettings(**{field: value})  # type: ignore[arg-type]


def test_unknown_excluded_layer_is_refused() -> None:
    layers = frozenset({"block_1a_conv_1", "block_1a_conv_2", "fc6"})
    check_excluded(["fc6"], layers)
    with pytest.raises(InvalidInput, match="block_1a_conv1: the model has no such layer; did you mean block_1a"):
        check_excluded(["block_1a_conv1"], layers)
