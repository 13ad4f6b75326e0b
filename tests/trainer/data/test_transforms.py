from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data import transforms

pytestmark = pytest.mark.trainer


def test_sizes_are_truncated_exactly() -> None:
    place = tf.function(lambda original: transforms.place(original, (256, 320)))
    rng = np.random.default_rng(0)
    sizes = [(1040, 1388), (256, 256), (1388, 1040), (1, 1), (1, 4000), (360, 3), *rng.integers(1, 3000, (200, 2))]
    for height, width in sizes:
        placement = place(tf.constant([height, width], tf.int32))
        scale = min(Fraction(256, int(height)), Fraction(320, int(width)))
        expected = [max(1, int(scale * int(side))) for side in (height, width)]
        assert placement.scaled.numpy().tolist() == placement.size.numpy().tolist() == expected
        assert placement.offset.numpy().tolist() == [0, 0]
        np.testing.assert_allclose(
            transforms.image_info(placement), [*expected, float(1 / scale), height, width], rtol=1e-6
        )


def reference_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize bilinearly with half-pixel centers and clamped edges, without antialiasing."""

    def axis(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        centers = (np.arange(wanted) + 0.5) * length / wanted - 0.5
        low = np.floor(centers).astype(int)
        return np.clip(low, 0, length - 1), np.clip(low + 1, 0, length - 1), centers - low

    top, bottom, down = axis(image.shape[0], height)
    left, right, across = axis(image.shape[1], width)
    image = image.astype(np.float64)
    rows = image[top] * (1 - down)[:, None, None] + image[bottom] * down[:, None, None]
    return rows[:, left] * (1 - across)[None, :, None] + rows[:, right] * across[None, :, None]


@pytest.mark.parametrize("size", [(37, 53), (200, 90), (128, 192), (500, 700)])
def test_pixels_of_the_padded_image(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    placement = transforms.place(tf.constant(size), (128, 192))
    padded = transforms.pad_image(tf.constant(image), placement, (128, 192)).numpy()
    height, width = placement.size.numpy()
    expected = (reference_resize(image, height, width) / 255 - [0.485, 0.456, 0.406]) / 0.224
    np.testing.assert_allclose(padded[:height, :width], expected, atol=2e-4)
    assert not padded[height:].any()
    assert not padded[:, width:].any()


def test_a_black_pixel() -> None:
    black = transforms.normalize(tf.zeros([1, 1, 3], tf.uint8)).numpy().ravel()
    np.testing.assert_allclose(black, [-2.1651785, -2.0357141, -1.8124999], atol=1e-6)


def test_half_of_the_images_are_flipped() -> None:
    draw = tf.function(lambda position: transforms.draw_flip(5, position))
    flips = draw(tf.range(4000, dtype=tf.int64)).numpy()
    assert abs(flips.mean() - 0.5) < 5 * 0.008
    assert flips[17] == draw(tf.constant(17, tf.int64)).numpy()


def test_boxes_follow_the_image() -> None:
    placement = transforms.place(tf.constant([100, 300]), (128, 192))
    boxes = np.array(
        [[0.1, 0.2, 0.5, 0.9], [-0.1, 0.5, 0.4, 1.2], [0.3, 0.3, 0.3, 0.6], [0.7, 0.9, 0.2, 0.95]], np.float32
    )
    placed = transforms.place_boxes(boxes, placement)
    expected = np.clip(boxes, 0, 1) * [64, 192, 64, 192]
    np.testing.assert_allclose(placed.pixels, expected, atol=1e-4)
    assert placed.visible.numpy().tolist() == [True, True, False, False]


def test_flipped_boxes() -> None:
    flipped = transforms.flip_boxes(tf.constant([[0.1, 0.2, 0.5, 0.9]])).numpy()
    np.testing.assert_allclose(flipped, [[0.1, 0.1, 0.5, 0.8]], atol=1e-6)


@pytest.fixture(scope="module")
def jittered() -> list[transforms.ImagePlacement]:
    place = tf.function(
        lambda position: transforms.place(
            tf.constant([90, 120]), (128, 192), jitter=(0.5, 2.0), seed=3, position=position
        )
    )
    return [
        transforms.ImagePlacement(*(part.numpy() for part in place(tf.constant(position, tf.int64))))
        for position in range(300)
    ]


def test_jitter_draws_scales_and_offsets_over_their_whole_range(jittered: list[transforms.ImagePlacement]) -> None:
    base = min(128 / 90, 192 / 120)
    factors = np.array([one.scale for one in jittered]) / base
    assert 0.5 <= factors.min() < 0.52
    assert 1.97 < factors.max() <= 2.0
    assert abs(factors.mean() - 1.25) < 5 * 1.5 / np.sqrt(12 * 300)
    shares = []
    for one in jittered:
        expected = np.maximum(1, np.floor(np.array([90, 120]) * float(one.scale) + 1e-4))
        assert np.all(np.abs(one.scaled - expected) <= 1)
        assert one.size.tolist() == np.minimum(one.scaled, [128, 192]).tolist()
        excess = one.scaled - one.size
        assert np.all((one.offset >= 0) & (one.offset <= excess))
        shares += [offset / room for offset, room in zip(one.offset, excess, strict=True) if room > 20]
    assert min(shares) < 0.05
    assert max(shares) > 0.95


def test_cropped_image_and_its_boxes_agree(jittered: list[transforms.ImagePlacement]) -> None:
    image = np.random.default_rng(2).integers(0, 256, (90, 120, 3), np.uint8)
    checked = 0
    for one in (one for one in jittered if (one.scaled > one.size).any()):
        padded = transforms.pad_image(tf.constant(image), one, (128, 192)).numpy()
        whole = (reference_resize(image, *one.scaled) / 255 - [0.485, 0.456, 0.406]) / 0.224
        (top, left), (height, width) = one.offset, one.size
        shown = whole[top : top + height, left : left + width]
        np.testing.assert_allclose(padded[:height, :width], shown, atol=2e-4)

        boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.4, 0.4, 0.6, 0.7], [0.0, 0.0, 0.02, 0.02]], np.float32)
        placed = transforms.place_boxes(boxes, one)
        absolute = boxes * np.tile(one.scaled, 2) - np.tile(one.offset, 2)
        clipped = np.clip(absolute, 0, np.tile(one.size, 2))
        np.testing.assert_allclose(placed.pixels, clipped, atol=1e-3)
        np.testing.assert_allclose(
            placed.fractions, (clipped + np.tile(one.offset, 2)) / np.tile(one.scaled, 2), atol=1e-5
        )
        sides = clipped[:, 2:] - clipped[:, :2]
        cut = (clipped != absolute).any(1)
        assert placed.visible.numpy().tolist() == ((sides > 0).all(1) & (~cut | (sides >= 1).all(1))).tolist()
        checked += not placed.visible.numpy()[2]
        if checked > 8:
            break
    assert checked > 3
