"""Matching of detections and padding with black in the parity script."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from maskrcnn_trainer.detector import Detections

pytestmark = pytest.mark.trainer

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def parity() -> ModuleType:
    specification = importlib.util.spec_from_file_location("export_parity", ROOT / "benchmarks" / "export_parity.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def _found(*rows: tuple[float, int, float]) -> list[Detections]:
    """Return the detections of one image, given as top, class and score."""
    boxes = np.array([[y, 0, y + 10, 10] for y, _, _ in rows], np.float32)
    classes = np.array([model_id for _, model_id, _ in rows], np.int32)
    scores, masks = np.array([score for _, _, score in rows], np.float32), np.zeros((len(rows), 4, 4), np.float32)
    return [Detections(boxes, classes, scores, masks)]


def test_detections_over_half_are_matched_in_both_directions(parity: ModuleType) -> None:
    own = _found((0, 1, 0.9), (50, 1, 0.8), (90, 2, 0.7), (120, 1, 0.2))
    other = _found((0.25, 1, 0.49), (50.75, 1, 0.8), (90, 1, 0.7), (120, 1, 0.2))
    # The first one matches although its score differs; the second is too far away, the third of another class.
    assert parity.matches(own, other) == (1, 5, 0.25)
    assert parity.matches(own, own) == (6, 6, 0.0)


def test_detection_matches_one_detection_only(parity: ModuleType) -> None:
    twice, once = _found((0, 1, 0.9), (0.125, 1, 0.8)), _found((0, 1, 0.9))
    matched, total, _ = parity.matches(twice, once)
    assert (matched, total) == (2, 3)


def test_padding_with_black(parity: ModuleType) -> None:
    images = np.zeros((2, 6, 8, 3), np.float32)
    images[0, :4, :] = 1.0
    images[1, :, :5] = 1.0
    images[0, 2, 3] = 0.0
    padded = parity.black_padding(images)
    black = np.array([-0.485, -0.456, -0.406]) / 0.224
    np.testing.assert_allclose(padded[0, 4:], np.broadcast_to(black, (2, 8, 3)), rtol=1e-6)
    np.testing.assert_array_equal(padded[0, :4], images[0, :4])
    np.testing.assert_allclose(padded[1, :, 5:], np.broadcast_to(black, (6, 3, 3)), rtol=1e-6)
    np.testing.assert_array_equal(padded[1, :, :5], images[1, :, :5])
