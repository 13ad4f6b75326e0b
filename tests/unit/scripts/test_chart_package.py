"""Values of the packaged chart, with images by digest."""

from __future__ import annotations

import pytest
import yaml
from scripts.chart_package import CHART, with_images

VALUES = (CHART / "values.yaml").read_text(encoding="utf-8")
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def test_images_by_digest_are_the_only_values_that_change() -> None:
    changed = yaml.safe_load(
        with_images(VALUES, f"registry.example/a/operator@{DIGEST}", f"registry.example/a/trainer@{DIGEST}")
    )
    expected = yaml.safe_load(VALUES)
    expected["image"] |= {"repository": "registry.example/a/operator", "digest": DIGEST}
    expected["trainer"]["image"] = f"registry.example/a/trainer@{DIGEST}"
    assert changed == expected


def test_values_without_images_are_the_charts() -> None:
    assert with_images(VALUES) == VALUES


@pytest.mark.parametrize("image", ["registry.example/operator:0.1.0", "operator@sha256:12", f"@{DIGEST}"])
def test_image_without_a_digest_is_refused(image: str) -> None:
    with pytest.raises(ValueError, match="isn't an image by digest"):
        with_images(VALUES, operator=image)


def test_values_without_a_place_for_an_image_are_refused() -> None:
    with pytest.raises(ValueError, match="0 places"):
        with_images("replicas: 1\n", trainer=f"trainer@{DIGEST}")
