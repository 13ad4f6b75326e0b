"""Importance of filters: the norms of their kernels, normalized so that layers can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NORMALIZERS = ("max", "L2")
CRITERIA = ("union", "intersection", "arithmetic_mean", "geometric_mean")


def filter_norms(kernel: NDArray[Any]) -> NDArray[np.float64]:
    """Return the L2 norm of every output filter, float64 [N].

    Biases and batch norms are ignored. Molchanov et al. 2016 (arXiv:1611.06440) call this the criterion of minimum
    weight.

    Args:
        kernel: [.., N], with the N filters on the last axis.
    """
    squares = np.square(kernel, dtype=np.float64)
    norms: NDArray[np.float64] = np.sqrt(np.sum(squares, axis=tuple(range(kernel.ndim - 1))))
    return norms


def normalize(norms: NDArray[np.float64], normalizer: str) -> NDArray[np.float64]:
    """Normalize the norms of one layer.

    Args:
        norms: float64 [N], at least 0.
        normalizer: ``max``: n / max(n), so that the largest is 1. ``L2``: N n / |n|, so that all are sqrt(N) in a layer
            of equal filters.

    Returns:
        float64 [N]; zeros if all norms are zero.
    """
    whole = float(np.max(norms)) if normalizer == "max" else float(np.linalg.norm(norms)) / norms.size
    return norms / whole if whole > 0 else np.zeros_like(norms)


def equalize(statistics: Sequence[NDArray[np.float64]], criterion: str) -> NDArray[np.float64]:
    """Combine the statistics of layers that must keep the same filters.

    Args:
        statistics: normalized norms of each layer, float64 [N] each.
        criterion: ``union`` for the largest value of a filter, ``intersection`` for the smallest, ``arithmetic_mean``
            or ``geometric_mean`` for the mean.

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
