"""Geometry and pixels of one image: flip, aspect-preserving resize with scale jitter, normalization, boxes.

Pixel convention: the pixel of index i covers [i, i + 1). A box is y1 x1 y2 x2, either in fractions of the image's sides
(in records) or in pixels of the padded image. The resize is bilinear with half-pixel centers and without antialiasing,
as defined by ``tf.image.resize``. ``data.padded_image`` computes the same image without TensorFlow and without jitter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.data.padded_image import MEAN, STD
from maskrcnn_trainer.data.randomness import Stream, uniform

_SLACK = 1e-6
"""Prevents rounding in s * side from truncating a whole number to the one below, for sides up to 10^6 pixels."""


class ImagePlacement(NamedTuple):
    """Position of an image in the padded image.

    The image is scaled to ``scaled``, and the part of ``size`` pixels from ``offset`` on is shown.

    Attributes:
        scaled: int32 [2], height and width of the whole scaled image.
        offset: int32 [2], first row and column shown; zero unless the scaled image is larger than the padded image.
        size: int32 [2], height and width of the part shown, at the top left of the padded image.
        scale: float32 scalar, scaled pixels per stored pixel.
        original: int32 [2], height and width of the stored image.
    """

    scaled: tf.Tensor
    offset: tf.Tensor
    size: tf.Tensor
    scale: tf.Tensor
    original: tf.Tensor


def draw_flip(seed: int, position: tf.Tensor) -> tf.Tensor:
    """Return whether to mirror an image, a bool scalar, true for half of the positions.

    Args:
        seed: the experiment's seed.
        position: int64 scalar, the image's global position.
    """
    return uniform(seed, position, Stream.FLIP, []) > 0.5


def place(
    original: tf.Tensor,
    image_size: tuple[int, int],
    *,
    jitter: tuple[float, float] | None = None,
    seed: int = 0,
    position: tf.Tensor | None = None,
) -> ImagePlacement:
    """Compute the position of an image in the padded image.

    The scale is the largest with which the image fits; sizes are truncated to whole pixels. With ``jitter`` the scale
    is multiplied by a number drawn uniformly from the range, and an image that is then larger than the padded image is
    cropped at a random offset.

    Args:
        original: int32 [2], height and width of the stored image.
        image_size: height and width of the padded image.
        jitter: smallest and largest multiplier; None for no jitter.
        seed: the experiment's seed.
        position: int64 scalar, the image's global position; required with ``jitter``.

    Raises:
        ValueError: ``jitter`` is given without ``position``.
    """
    sides = tf.cast(original, tf.float64)
    scale = tf.reduce_min(tf.constant(image_size, tf.float64) / sides)
    if jitter is not None:
        if position is None:
            raise ValueError("jitter needs the position of the image")
        drawn = tf.cast(uniform(seed, position, Stream.JITTER, [3]), tf.float64)
        scale *= jitter[0] + drawn[0] * (jitter[1] - jitter[0])
    scaled = tf.maximum(tf.cast(tf.floor(scale * sides + _SLACK), tf.int32), 1)
    excess = tf.maximum(scaled - tf.constant(image_size, tf.int32), 0)
    if jitter is None:
        offset = tf.zeros([2], tf.int32)
    else:
        offset = tf.cast(tf.floor(drawn[1:] * tf.cast(excess + 1, tf.float64)), tf.int32)
    return ImagePlacement(scaled, offset, scaled - excess, tf.cast(scale, tf.float32), tf.cast(original, tf.int32))


def image_info(placement: ImagePlacement) -> tf.Tensor:
    """Return float32 [5]: height and width of the part shown, 1 / scale, stored height and width."""
    size = tf.cast(placement.size, tf.float32)
    original = tf.cast(placement.original, tf.float32)
    return tf.stack([size[0], size[1], 1.0 / placement.scale, original[0], original[1]])


def normalize(image: tf.Tensor) -> tf.Tensor:
    """Return (x / 255 - mean) / deviation, float32 of the same shape, for RGB values in 0..255."""
    return (tf.cast(image, tf.float32) / 255.0 - tf.constant(MEAN)) / STD


def pad_image(image: tf.Tensor, placement: ImagePlacement, image_size: tuple[int, int]) -> tf.Tensor:
    """Resize, normalize, and pad one image.

    Args:
        image: uint8 [h, w, 3], RGB, already flipped.
        placement: from ``place``.
        image_size: height and width of the padded image.

    Returns:
        float32 [H, W, 3], normalized; zeros, which stand for the mean color, below and to the right of the image.
    """
    return _padded(normalize(_shown(image, placement)), placement, image_size)


def pad_pixels(image: tf.Tensor, placement: ImagePlacement, image_size: tuple[int, int]) -> tf.Tensor:
    """Resize, round, and pad one image; ``normalized_images`` does the rest, on another device.

    Args:
        image: uint8 [h, w, 3], RGB, already flipped.
        placement: from ``place``.
        image_size: height and width of the padded image.

    Returns:
        uint8 [H, W, 3], RGB; zeros below and to the right of the image.
    """
    return _padded(tf.cast(tf.round(_shown(image, placement)), tf.uint8), placement, image_size)


def normalized_images(images: tf.Tensor, image_info: tf.Tensor) -> tf.Tensor:
    """Normalize rounded images, and set what lies outside of them to 0, the mean color.

    Args:
        images: uint8 [B, H, W, 3] of static height and width, from ``pad_pixels``.
        image_info: float32 [B, 5], from ``image_info``.

    Returns:
        float32 [B, H, W, 3]. Values differ from those of ``pad_image`` by at most 0.5 / 255 / .224 = 0.0088.
    """
    height, width = images.shape[1:3]
    # in float32, since TensorFlow compares int32 on the host
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    shown = (rows < image_info[:, :1])[:, :, None] & (columns < image_info[:, 1:2])[:, None, :]
    return tf.where(shown[..., None], normalize(images), 0.0)


def _shown(image: tf.Tensor, placement: ImagePlacement) -> tf.Tensor:
    """Return the part of the scaled image that is shown, float32 [height, width, 3] in 0..255."""
    resized = tf.image.resize(image, placement.scaled, method=tf.image.ResizeMethod.BILINEAR, antialias=False)
    top, left = placement.offset[0], placement.offset[1]
    height, width = placement.size[0], placement.size[1]
    return resized[top : top + height, left : left + width]


def _padded(shown: tf.Tensor, placement: ImagePlacement, image_size: tuple[int, int]) -> tf.Tensor:
    height, width = placement.size[0], placement.size[1]
    padded = tf.pad(shown, [[0, image_size[0] - height], [0, image_size[1] - width], [0, 0]])
    return tf.ensure_shape(padded, [*image_size, 3])


def flip_boxes(boxes: tf.Tensor) -> tf.Tensor:
    """Mirror boxes, float32 [n, 4], y1 x1 y2 x2 in fractions of the image, left to right."""
    y1, x1, y2, x2 = tf.unstack(boxes, num=4, axis=-1)
    return tf.stack([y1, 1.0 - x2, y2, 1.0 - x1], axis=-1)


class PlacedBoxes(NamedTuple):
    """Boxes in the padded image.

    Attributes:
        pixels: float32 [n, 4], y1 x1 y2 x2 in pixels of the padded image, clipped to the part that is shown.
        fractions: float32 [n, 4], the same boxes in fractions of the whole image.
        visible: bool [n], false if the object is not shown.
    """

    pixels: tf.Tensor
    fractions: tf.Tensor
    visible: tf.Tensor


def place_boxes(boxes: tf.Tensor, placement: ImagePlacement) -> PlacedBoxes:
    """Transform boxes with their image.

    A box without area is not visible, and neither is a clipped box with a side below one pixel.

    Args:
        boxes: float32 [n, 4], y1 x1 y2 x2 in fractions of the image, already flipped; clipped to the image here.
        placement: from ``place``.
    """
    scaled = tf.cast(tf.tile(placement.scaled, [2]), tf.float32)
    offset = tf.cast(tf.tile(placement.offset, [2]), tf.float32)
    size = tf.cast(tf.tile(placement.size, [2]), tf.float32)
    whole = tf.clip_by_value(boxes, 0.0, 1.0) * scaled - offset
    clipped = tf.clip_by_value(whole, 0.0, size)
    sides = clipped[:, 2:] - clipped[:, :2]
    changed = tf.reduce_any(clipped != whole, axis=-1)
    visible = tf.reduce_all(sides > 0.0, axis=-1) & (~changed | tf.reduce_all(sides >= 1.0, axis=-1))
    return PlacedBoxes(clipped, (clipped + offset) / scaled, visible)
