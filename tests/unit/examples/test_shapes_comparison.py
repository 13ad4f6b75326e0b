"""Picture of ground truth next to detections."""

from __future__ import annotations

import numpy as np
import pytest
from examples.shapes.comparison import comparison_picture

from maskrcnn_trainer.evaluation.drawing import DrawnObject, class_color

GRAY = np.full((100, 120, 3), 90, np.uint8)


def test_images_are_in_rows_of_pairs_with_titles() -> None:
    item = DrawnObject((30, 20, 80, 90), 2, "thing", 0.9)
    picture = comparison_picture([(GRAY, [item], []), (GRAY[:80], [], [item]), (GRAY, [], [])], min_side=100)
    pair = 120 + 4 + 120
    assert picture.shape == (24 + 160 + 8 + 24 + 100 + 8, pair + 16 + (240 + 4 + 240), 3)
    np.testing.assert_array_equal(picture[24 + 30, 80], np.array(class_color(2)))


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        comparison_picture([])
