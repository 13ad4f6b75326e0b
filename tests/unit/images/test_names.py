"""Names of image files that tasks look for."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.images.names import is_image_name, is_visible_image_name


@pytest.mark.parametrize("path", ["a.jpg", "deep/b.JPEG", "c.d.Png", ".hidden/e.bmp", ".f.webp", "g.tif", "h.TIFF"])
def test_image_is_recognized_by_its_suffix(path: str) -> None:
    assert is_image_name(path)


@pytest.mark.parametrize("path", ["a.jpg.txt", "jpg", "deep.jpg/readme", "a.gif"])
def test_other_file_is_no_image(path: str) -> None:
    assert not is_image_name(path)


def test_hidden_image_is_not_visible() -> None:
    paths = ["a.jpg", ".b.jpg", "deep/.c.jpg", ".deep/d.jpg", "deep/e.jpg"]
    assert [path for path in paths if is_visible_image_name(path)] == ["a.jpg", "deep/e.jpg"]
