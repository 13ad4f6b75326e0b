"""Previews in TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskrcnn_trainer.evaluation.preview import Preview, write_previews

pytestmark = pytest.mark.trainer


def test_previews_are_image_summaries(tmp_path: Path) -> None:
    import tensorflow as tf

    results = [
        {"category_id": 4, "bbox": [10, 10, 20, 20], "score": 0.8},
        {"category_id": 4, "bbox": [30, 30, 20, 20], "score": 0.05},
    ]
    previews = [Preview(np.full((64, 96, 3), 60 + number, np.uint8), results) for number in range(2)]
    write_previews(tf.summary.create_file_writer(str(tmp_path)), previews, {4: "four"}, step=300)
    (events,) = tmp_path.glob("events*")
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(events)):
        for value in event.summary.value:
            width, height, encoded = tf.make_ndarray(value.tensor)
            found[value.tag] = (event.step, int(width), int(height), tf.io.decode_png(encoded).numpy())
    assert set(found) == {"0_input", "1_input"}
    step, width, height, pixels = found["0_input"]
    assert (step, width, height) == (300, 768, 512)
    assert (pixels[30 * 8 - 60, 10 * 8] != 60).any(), "the object of score 0.8 is framed"
    assert (pixels[40 * 8 : 48 * 8, 50 * 8 :] == 60).all(), "the one of 0.05 is not"
