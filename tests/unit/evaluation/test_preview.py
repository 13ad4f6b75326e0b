"""Previews of validation images: which detections are drawn."""

from __future__ import annotations

import numpy as np

from maskrcnn_trainer.evaluation.preview import Preview

GRAY = 60
FACTOR = 8  # an image of 64 x 96 pixels is enlarged by this to reach a shorter side of 512


def test_preview_frames_confident_objects_only() -> None:
    results = [
        {"category_id": 4, "bbox": [10, 10, 20, 20], "score": 0.8},
        {"category_id": 4, "bbox": [60, 40, 20, 20], "score": 0.05},
    ]
    image = np.full((64, 96, 3), GRAY, np.uint8)
    pixels = Preview(image, results).drawn({4: "four"})
    assert (pixels.shape, pixels.dtype) == ((64 * FACTOR, 96 * FACTOR, 3), np.uint8)
    left_side = pixels[10 * FACTOR : 30 * FACTOR, 10 * FACTOR]
    assert (left_side != GRAY).any(axis=-1).all(), "the object of score 0.8 is framed"
    assert (pixels[:, 50 * FACTOR :] == GRAY).all(), "the one of 0.05 is not"
    assert (image == GRAY).all()
