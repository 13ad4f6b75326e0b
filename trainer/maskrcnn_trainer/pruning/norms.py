"""How much a filter matters: the norm of its kernel, made comparable between layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NORMALIZERS = ("max", "L2")
CRITERIA = ("union", "intersection", "arithmetic_mean", "geometric_mean")


def filter_norms(kernel: NDArray[Any]) -> NDArray[np.float64]:
    """The L2 norm of every output filter, float64 [N], of a kernel whose last axis are the N filters.

    Biases and batch norms do not count (Molchanov et al. 2016, arXiv:1611.06440, call it the criterion of minimum
    weight).
    """
    squares = np.square(kernel, dtype=np.float64)
    norms: NDArray[np.float64] = np.sqrt(np.sum(squares, axis=tuple(range(kernel.ndim - 1))))
    return norms


def normalise(norms: NDArray[np.float64], normalizer: str) -> NDArray[np.float64]:
    """Norms of one layer in a unit of the layer's own.

    Args:
        norms: float64 [N], 0 or more.
        normalizer: ``max``: n / max(n), so that the largest is 1. ``L2``: N n / |n|, so that a layer of equal filters
            has sqrt(N) everywhere.

    Returns:
        float64 [N]; zeros where all norms are zero.
    """
    whole = float(np.max(norms)) if normalizer == "max" else float(np.linalg.norm(norms)) / norms.size
    return norms / whole if whole > 0 else np.zeros_like(norms)


def equalise(statistics: Sequence[NDArray[np.float64]], criterion: str) -> NDArray[np.float64]:
    """One statistic for layers that must keep the same filters.

    Args:
        statistics: normalised norms of each layer, float64 [N] each.
        criterion: ``union`` takes the largest of a filter, ``intersection`` the smallest, ``arithmetic_mean`` and
            ``geometric_mean`` the mean.

    Returns:
        float64 [N].
    """
    stacked = np.stack(statistics)
    if criterion == "union":
        found = np.max(stacked, axis=0)
    elif criterion == "intersection":
        found = np.min(stacked, axis=0)
    elif criterion == "arithmetic_mean":
        found = np.mean(stacked, axis=0)
    else:
        found = np.prod(stacked ** (1.0 / len(statistics)), axis=0)
    return np.asarray(found, np.float64)
