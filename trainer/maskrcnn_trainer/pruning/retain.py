"""Which filters of a layer, or of a group of layers, are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.pruning.norms import CRITERIA, NORMALIZERS, equalise, filter_norms, normalise


@dataclass(frozen=True)
class PruneSettings:
    """What the command line says.

    Attributes:
        normalizer: ``max`` or ``L2``, see `norms.normalise`.
        criterion: see `norms.equalise`.
        granularity: the number of filters kept is a multiple of it (or all).
        threshold: filters above it are kept.
        min_num_filters: kept of every layer at least.
        excluded_layers: names of layers that keep everything, and all layers that belong together with them.

    Raises:
        InvalidInput: a value that makes no sense, by its flag.
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
        for right, flag, value, wanted in checks:
            if not right:
                raise InvalidInput(f"{flag} {value}: expected {wanted}", reason="InvalidCommandLine")


def retained_count(above: int, depth: int, *, min_num_filters: int, granularity: int) -> int:
    """How many filters of ``depth`` stay when ``above`` of them are above the threshold.

    At least ``min_num_filters``, rounded up to a multiple of ``granularity``, at most all.
    """
    count = max(min(min_num_filters, depth), above)
    return min(math.ceil(count / granularity) * granularity, depth)


def retained_filters(statistic: NDArray[Any], settings: PruneSettings) -> NDArray[Any]:
    """The filters with the largest statistic, int64 in rising order; of equal ones those that come first.

    The threshold decides how many: those strictly above it. Rounding up adds filters below it.
    """
    above = int(np.count_nonzero(statistic > settings.threshold))
    count = retained_count(
        above, statistic.size, min_num_filters=settings.min_num_filters, granularity=settings.granularity
    )
    best = np.argsort(-statistic, kind="stable")[:count]
    return np.sort(best)


def retained_of_group(kernels: Mapping[str, NDArray[Any]], settings: PruneSettings) -> NDArray[Any]:
    """The filters that layers which belong together keep.

    Args:
        kernels: by layer name, filters on the last axis.

    Raises:
        InvalidInput: nothing would be left, or a kernel holds values that are not finite.
    """
    statistics = []
    for name, kernel in kernels.items():
        norms = filter_norms(kernel)
        if not np.all(np.isfinite(norms)):
            raise InvalidInput(f"{name}/kernel holds values that are not finite", reason="InvalidModel")
        statistics.append(normalise(norms, settings.normalizer))
    kept = retained_filters(equalise(statistics, settings.criterion), settings)
    if not kept.size:
        raise InvalidInput(
            f"nothing would be left of {', '.join(kernels)}: no filter is above --pruning-threshold "
            f"{settings.threshold:g} and --min-num-filters is 0; lower the one or raise the other"
        )
    return kept


def check_excluded(excluded: Sequence[str], known: frozenset[str]) -> None:
    """Refuses names that are no layer.

    Raises:
        InvalidInput: with the names that come nearest.
    """
    import difflib

    for name in excluded:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3)
            advice = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InvalidInput(f"--excluded-layers {name}: the model has no such layer{advice}")
