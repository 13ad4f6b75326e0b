"""Comparison of the losses and detections of two devices."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check_parity

    return gpu_check_parity


def _found(*rows: tuple[float, int, float]) -> dict[str, Any]:
    """Return the detections of one image, given as top, class, and score; score 0 for a missing one."""
    boxes = np.array([[[y, 0, y + 10, 10] for y, _, _ in rows]], np.float32)
    return {"boxes": boxes, "classes": np.array([[c for _, c, _ in rows]]), "scores": np.array([[s for *_, s in rows]])}


def test_differences_of_losses_are_relative(compared: ModuleType) -> None:
    ours = {"mask_loss": np.array([1.0, 2.2]), "foreground_rois": np.array([0.0, 4.0])}
    reference = {"mask_loss": np.array([1.0, 2.0]), "foreground_rois": np.array([0.0, 4.0])}
    assert compared.loss_differences(ours, reference) == {"mask_loss": [0.0, 0.1], "foreground_rois": [0.0, 0.0]}


def test_order_of_detections_does_not_matter(compared: ModuleType) -> None:
    assert compared.matched_share(_found((0, 1, 0.5), (40, 2, 0.5)), _found((40, 2, 0.5), (0.5, 1, 0.5))) == 1.0


@pytest.mark.parametrize("other", [(2, 1, 0.5), (0, 2, 0.5), (0, 1, 0.6)])
def test_other_box_class_or_score_does_not_match(compared: ModuleType, other: tuple[float, int, float]) -> None:
    assert compared.matched_share(_found((0, 1, 0.5)), _found(other)) == 0.0


def test_missing_detections_do_not_count(compared: ModuleType) -> None:
    assert compared.matched_share(_found((0, 1, 0.5), (0, 0, 0.0)), _found((0, 1, 0.5), (9, 0, 0.0))) == 1.0
    assert compared.matched_share(_found((0, 1, 0.5), (40, 1, 0.5)), _found((0, 1, 0.5), (0, 0, 0.0))) == 0.75
