"""Parsing a record into tensors, and choosing the objects that training uses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.transforms import PlacedBoxes


class StoredImage(NamedTuple):
    """Image of a record.

    Attributes:
        encoded: string scalar, JPEG, PNG, BMP, or GIF.
        size: int64 [2], height and width in the record, 0 if absent.
    """

    encoded: tf.Tensor
    size: tf.Tensor


class Objects(NamedTuple):
    """Annotated objects of one image, n of them.

    Attributes:
        boxes: float32 [n, 4], y1 x1 y2 x2 in fractions of the image.
        classes: int32 [n], category ids as stored.
        crowd: bool [n].
        masks: string [n], a PNG each; [0] if the record has no masks.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    crowd: tf.Tensor
    masks: tf.Tensor


_IMAGE = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/source_id": tf.io.FixedLenFeature([], tf.string, ""),
    "image/height": tf.io.FixedLenFeature([], tf.int64, 0),
    "image/width": tf.io.FixedLenFeature([], tf.int64, 0),
}


def _many(dtype: tf.DType) -> tf.io.FixedLenSequenceFeature:
    return tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)


_OBJECTS = {
    "image/object/bbox/ymin": _many(tf.float32),
    "image/object/bbox/xmin": _many(tf.float32),
    "image/object/bbox/ymax": _many(tf.float32),
    "image/object/bbox/xmax": _many(tf.float32),
    "image/object/class/label": _many(tf.int64),
    "image/object/is_crowd": _many(tf.int64),
    "image/object/mask": _many(tf.string),
}


def parse_image(record: tf.Tensor) -> tuple[StoredImage, tf.Tensor]:
    """Return the image and ``image/source_id``, a string scalar, of a serialized ``tf.train.Example``."""
    parsed = tf.io.parse_single_example(record, _IMAGE)
    return _stored(parsed), parsed["image/source_id"]


def parse_example(record: tf.Tensor) -> tuple[StoredImage, tf.Tensor, Objects]:
    """Return the image, its source id (string scalar), and its objects.

    A record without ``is_crowd`` has no crowds.

    Args:
        record: string scalar, a serialized ``tf.train.Example``.
    """
    parsed = tf.io.parse_single_example(record, {**_IMAGE, **_OBJECTS})
    boxes = tf.stack([parsed[f"image/object/bbox/{side}"] for side in ("ymin", "xmin", "ymax", "xmax")], axis=-1)
    crowd = parsed["image/object/is_crowd"] > 0
    crowd = tf.cond(tf.size(crowd) > 0, lambda: crowd, lambda: tf.zeros(tf.shape(boxes)[:1], tf.bool))
    classes = tf.cast(parsed["image/object/class/label"], tf.int32)
    return _stored(parsed), parsed["image/source_id"], Objects(boxes, classes, crowd, parsed["image/object/mask"])


def _stored(parsed: dict[str, tf.Tensor]) -> StoredImage:
    return StoredImage(parsed["image/encoded"], tf.stack([parsed["image/height"], parsed["image/width"]]))


def decode_stored(image: StoredImage) -> tf.Tensor:
    """Return the pixels of a record's image, see :func:`decode_pixels`.

    Raises:
        tf.errors.InvalidArgumentError: the image does not have the size in the record, so that the objects do not match
            the pixels.
    """
    pixels = decode_pixels(image.encoded)
    size = tf.shape(pixels, tf.int64)[:2]
    same = tf.debugging.Assert(
        tf.reduce_all((size == image.size) | (image.size == 0)),
        ["height and width of the image, and those in the record:", size, image.size],
    )
    with tf.control_dependencies([same]):
        return tf.identity(pixels)


def decode_pixels(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG, PNG, BMP, or GIF (its first frame) to uint8 [h, w, 3], RGB. EXIF rotation is not applied.

    Gray becomes three equal channels, 16 bits become 8, alpha is dropped. JPEG is decoded with the accurate integer
    DCT, which gives the same pixels as Pillow and OpenCV. TensorFlow's default, the fast DCT, does not save time on
    current processors and differs by 1.3 of 255 on average (up to 23, on 60 COCO images), so that inference with other
    software would get other pixels than training did.
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(encoded, channels=3, dtype=tf.uint8, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def class_mapper(class_map: ClassMap) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the category ids in ascending order and the model id of each, both int32 [K]."""
    raw = np.asarray(sorted(class_map.to_model), np.int32)
    return raw, np.asarray([class_map.to_model[int(one)] for one in raw], np.int32)


def map_classes(classes: tf.Tensor, raw: NDArray[np.int32], model: NDArray[np.int32]) -> tf.Tensor:
    """Return the model ids, int32 [n], of stored category ids.

    Args:
        classes: int32 [n], category ids as stored.
        raw: int32 [K], category ids in ascending order, from :func:`class_mapper`.
        model: int32 [K], the model id of each.

    Raises:
        tf.errors.InvalidArgumentError: an id is not in ``raw``; the message names it.
    """
    indices = tf.minimum(tf.searchsorted(raw, classes), len(raw) - 1)
    known = tf.gather(raw, indices) == classes
    unknown = tf.boolean_mask(classes, ~known)
    with tf.control_dependencies(
        [tf.debugging.Assert(tf.reduce_all(known), ["category ids that the class map lacks:", unknown])]
    ):
        return tf.gather(model, indices)


def choose_objects(objects: Objects, placed: PlacedBoxes, skip_crowd: bool, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Choose the objects that training uses: visible ones, at most ``most`` of them.

    If there are more, the largest are chosen by the area of their boxes in the padded image (the first of equals).

    Args:
        objects: of the record.
        placed: their boxes in the padded image.
        skip_crowd: whether crowds are left out.
        most: largest number of objects of an image.

    Returns:
        int32 [k], indices of the chosen objects in stored order; int32 scalar, number of objects above ``most``, which
        are left out.
    """
    usable = placed.visible
    if skip_crowd:
        usable &= ~objects.crowd
    indices = tf.cast(tf.where(usable)[:, 0], tf.int32)
    sides = placed.pixels[:, 2:] - placed.pixels[:, :2]
    areas = tf.gather(sides[:, 0] * sides[:, 1], indices)
    count = tf.size(indices)
    largest = tf.math.top_k(areas, tf.minimum(count, most)).indices
    return tf.gather(indices, tf.sort(largest)), count - tf.minimum(count, most)
