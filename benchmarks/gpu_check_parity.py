"""Comparison of losses and detections of two devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS = 1.0
SCORE = 1e-3

Arrays = Mapping[str, NDArray[Any]]


def loss_differences(ours: Arrays, reference: Arrays) -> dict[str, list[float]]:
    """Return for each loss its relative difference at each step.

    Args:
        ours: values of each step by name, float [n].
        reference: the same of the other device.
    """
    return {
        name: [
            round(float(abs(a - b) / max(abs(b), 1e-9)), 8) for a, b in zip(ours[name], reference[name], strict=True)
        ]
        for name in ours
    }


def matched_share(ours: Arrays, reference: Arrays) -> float:
    """Return the share of detections that the other device has, too, 0..1, averaged over both directions.

    The other device has a detection if one of its own in the same image has the same class, all sides within a pixel,
    and a score within 0.001. With random weights all scores are alike, so the order of detections has no meaning.

    Args:
        ours: ``boxes`` [B, D, 4], ``classes`` [B, D], and ``scores`` [B, D], 0 for a missing detection.
        reference: the same of the other device.
    """
    return (_found_in(ours, reference) + _found_in(reference, ours)) / 2


def _found_in(these: Arrays, those: Arrays) -> float:
    found, total = 0, 0
    for image in range(len(these["scores"])):
        mine, other = ({name: values[image] for name, values in one.items()} for one in (these, those))
        exists, there = mine["scores"] > 0, other["scores"] > 0
        near = np.abs(mine["boxes"][:, None] - other["boxes"]).max(axis=-1) <= PIXELS
        alike = np.abs(mine["scores"][:, None] - other["scores"]) <= SCORE
        same = near & alike & (mine["classes"][:, None] == other["classes"]) & there
        found += int((same.any(axis=1) & exists).sum())
        total += int(exists.sum())
    return found / total if total else 1.0
