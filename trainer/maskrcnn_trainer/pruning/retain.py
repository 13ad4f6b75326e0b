"""Choosing the filters to keep of a layer, or of a group of layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.pruning.norms import CRITERIA, NORMALIZERS, equalize, filter_norms, normalize


@dataclass(frozen=True)
class PruneSettings:
    """Settings of pruning, as given on the command line.

    Attributes:
        normalizer: ``max`` or ``L2``, see `norms.normalize`.
        criterion: see `norms.equalize`.
        granularity: the number of filters kept is a multiple of it, or all; at least 1.
        threshold: filters whose normalized norm is above it are kept; at least 0.
        min_num_filters: smallest number of filters kept of a layer; at least 0.
        excluded_layers: names of layers that keep all filters; so do all layers of their groups.

    Raises:
        InvalidInput: a value is out of range; the message names its flag.
    """

    normalizer: str = "max"
    criterion: str = "union"
    granularity: int = 8
    threshold: float = 0.1
    min_num_filters: int = 16
    excluded_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks = (
            (self.normalizer in NORMALIZERS, "--normalizer", self.normalizer, f"one of {', '.join(NORMALIZERS)}"),
            (self.criterion in CRITERIA, "--equalization-criterion", self.criterion, f"one of {', '.join(CRITERIA)}"),
            (self.granularity >= 1, "--pruning-granularity", self.granularity, "a whole number of at least 1"),
            (
                math.isfinite(self.threshold) and self.threshold >= 0,
                "--pruning-threshold",
                self.threshold,
                "a number of at least 0",
            ),
            (self.min_num_filters >= 0, "--min-num-filters", self.min_num_filters, "a whole number of at least 0"),
        )
        for right, flag, value, expected in checks:
            if not right:
                raise InvalidInput(f"{flag} {value}: expected {expected}", reason="InvalidCommandLine")


def retained_count(above: int, depth: int, *, min_num_filters: int, granularity: int) -> int:
    """Return the number of filters kept: at least ``min_num_filters``, a multiple of ``granularity``, at most all.

    Args:
        above: number of filters above the threshold.
        depth: number of all filters.
        min_num_filters: smallest number of filters kept.
        granularity: the number is rounded up to a multiple of it.
    """
    count = max(min(min_num_filters, depth), above)
    return min(math.ceil(count / granularity) * granularity, depth)


def retained_filters(statistic: NDArray[Any], settings: PruneSettings) -> NDArray[Any]:
    """Return the filters with the largest statistic, int64, ascending; of equal ones the first.

    Their number is that of the filters above the threshold, rounded up by the other settings.

    Args:
        statistic: float64 [N], of each filter.
        settings: of pruning.
    """
    above = int(np.count_nonzero(statistic > settings.threshold))
    count = retained_count(
        above, statistic.size, min_num_filters=settings.min_num_filters, granularity=settings.granularity
    )
    best = np.argsort(-statistic, kind="stable")[:count]
    return np.sort(best)


def retained_of_group(kernels: Mapping[str, NDArray[Any]], settings: PruneSettings) -> NDArray[Any]:
    """Return the filters that the layers of a group keep, int64, ascending.

    Args:
        kernels: by layer name, filters on the last axis.
        settings: of pruning.

    Raises:
        InvalidInput: no filter would be kept, or a kernel has values that aren't finite.
    """
    statistics = []
    for name, kernel in kernels.items():
        norms = filter_norms(kernel)
        if not np.all(np.isfinite(norms)):
            raise InvalidInput(f"{name}/kernel holds values that are not finite", reason="InvalidModel")
        statistics.append(normalize(norms, settings.normalizer))
    kept = retained_filters(equalize(statistics, settings.criterion), settings)
    if not kept.size:
        raise InvalidInput(
            f"nothing would be left of {', '.join(kernels)}: no filter is above --pruning-threshold "
            f"{settings.threshold:g} and --min-num-filters is 0; lower the threshold or raise the minimum"
        )
    return kept


def check_excluded(excluded: Sequence[str], known: frozenset[str]) -> None:
    """Refuse names of layers that the model does not have.

    Args:
        excluded: names to check.
        known: names of all layers.

    Raises:
        InvalidInput: a name is unknown; the message suggests similar names.
    """
    import difflib

    for name in excluded:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3)
            advice = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InvalidInput(f"--excluded-layers {name}: the model has no such layer{advice}")
