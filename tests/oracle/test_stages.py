"""Each stage of this network compared with the original code of the weights' project, from the original's own inputs.

A difference is given by max|difference| / max|original| of a tensor.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.oracle.conftest import LEVELS, Original
from tests.oracle.ours import Stages

pytestmark = pytest.mark.timeout(3600)


def test_backbone(original: Original, stages: Stages) -> None:
    for name, values in stages.backbone(original.pixels[:2]).items():
        original.compare(name, values)


def test_pyramid(original: Original, stages: Stages) -> None:
    for name, values in stages.pyramid(original.values).items():
        original.compare(name, values)


def test_logits_and_deltas_of_the_rpn(original: Original, stages: Stages) -> None:
    for name, values in stages.rpn(original.values).items():
        original.compare(name, values)


def test_boxes_of_all_anchors(original: Original, stages: Stages) -> None:
    deltas = original.values["rpn_deltas"]
    original.compare("decoded", stages.decoded(deltas))
    original.compare("decoded_steep", stages.decoded(original.values["steepness"] * deltas))


def test_proposals(original: Original, stages: Stages) -> None:
    """Those of equal scores have an arbitrary order in the original, and two levels can have the same box."""
    found = stages.proposals(original.values["rpn_logits"], original.values["rpn_deltas"])
    for image, ours in enumerate(found):
        theirs = original.values[f"proposals{image}"]
        assert len(ours) == len(theirs)
        original.compare(f"proposals{image}", ours[_nearest(ours, theirs)])


def test_pooled_features(original: Original, stages: Stages) -> None:
    pooled_levels = np.concatenate([_levels(boxes) for boxes in original.boxes])
    assert set(pooled_levels) == set(LEVELS) - {6}
    for side in (7, 14):
        original.compare(f"pooled{side}", stages.pooled(original.values, original.boxes, side))


def test_box_head(original: Original, stages: Stages) -> None:
    outputs = stages.box_outputs(original.values["pooled7"])
    original.compare("class_logits", outputs["class_logits"])
    original.compare("box_deltas", outputs["box_deltas"][:, 1:])


def test_mask_head(original: Original, stages: Stages) -> None:
    original.compare("mask_logits", stages.mask_outputs(original.values["pooled14"])[:, 1:])


def _nearest(ours: np.ndarray, theirs: np.ndarray) -> list[int]:
    """Return the index of our nearest box for each of theirs, one to one."""
    distances = np.abs(ours[None] - theirs[:, None]).max(-1)
    nearest = []
    for row in distances:
        nearest.append(int(row.argmin()))
        distances[:, nearest[-1]] = np.inf
    return nearest


def _levels(boxes: np.ndarray) -> np.ndarray:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.clip(np.floor(4 + np.log2(np.sqrt(sides.prod(axis=1)) / 224)), 2, 5).astype(int)
