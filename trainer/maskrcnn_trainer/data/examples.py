"""One record as tensors, and the objects of it that training uses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.transforms import PlacedBoxes


class StoredImage(NamedTuple):
    """The image of a record.

    Attributes:
        encoded: string scalar, JPEG, PNG, BMP or GIF.
        size: int64 [2], height and width that the record gives, 0 where it gives none.
    """

    encoded: tf.Tensor
    size: tf.Tensor


class Objects(NamedTuple):
    """The annotated objects of one image, n of them.

    Attributes:
        boxes: float32 [n, 4], y1 x1 y2 x2 in fractions of the image.
        classes: int32 [n], category ids as stored.
        crowd: bool [n].
        masks: string [n], a PNG each; [0] where the record has none.
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
    """The image and ``image/source_id``, a string scalar, of a serialised ``tf.train.Example``."""
    parsed = tf.io.parse_single_example(record, _IMAGE)
    return _stored(parsed), parsed["image/source_id"]


def parse_example(record: tf.Tensor) -> tuple[StoredImage, tf.Tensor, Objects]:
    """The image, its source id and its objects; a record without ``is_crowd`` has no crowds."""
    parsed = tf.io.parse_single_example(record, {**_IMAGE, **_OBJECTS})
    boxes = tf.stack([parsed[f"image/object/bbox/{side}"] for side in ("ymin", "xmin", "ymax", "xmax")], axis=-1)
    crowd = parsed["image/object/is_crowd"] > 0
    crowd = tf.cond(tf.size(crowd) > 0, lambda: crowd, lambda: tf.zeros(tf.shape(boxes)[:1], tf.bool))
    classes = tf.cast(parsed["image/object/class/label"], tf.int32)
    return _stored(parsed), parsed["image/source_id"], Objects(boxes, classes, crowd, parsed["image/object/mask"])


def _stored(parsed: dict[str, tf.Tensor]) -> StoredImage:
    return StoredImage(parsed["image/encoded"], tf.stack([parsed["image/height"], parsed["image/width"]]))


def decode(image: StoredImage) -> tf.Tensor:
    """Return the pixels of a record, see :func:`decode_pixels`.

    An image of another size than the record gives is an InvalidArgumentError: the objects are not in these pixels.
    """
    pixels = decode_pixels(image.encoded)
    size = tf.shape(pixels, tf.int64)[:2]
    same = tf.debugging.Assert(
        tf.reduce_all((size == image.size) | (image.size == 0)),
        ["height and width of the image, and those that the record gives:", size, image.size],
    )
    with tf.control_dependencies([same]):
        return tf.identity(pixels)


def decode_pixels(encoded: tf.Tensor) -> tf.Tensor:
    """uint8 [h, w, 3] RGB of a JPEG, PNG, BMP or GIF (its first frame), in stored pixels: EXIF rotation is not applied.

    Grey becomes three equal channels, 16 bits become 8, alpha is dropped. JPEG goes through the accurate integer DCT,
    as in Pillow and OpenCV, whose pixels these are: TensorFlow's own choice, the fast one, is no faster today and off
    by 1.3 of 255 on average (up to 23, on 60 COCO images), so that inference with other software would see other images
    than training did.
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(encoded, channels=3, dtype=tf.uint8, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def class_mapper(class_map: ClassMap) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The category ids in rising order and the model's id of each, both int32 [K]."""
    raw = np.asarray(sorted(class_map.to_model), np.int32)
    return raw, np.asarray([class_map.to_model[int(one)] for one in raw], np.int32)


def map_classes(classes: tf.Tensor, raw: NDArray[np.int32], model: NDArray[np.int32]) -> tf.Tensor:
    """Model ids int32 [n] of stored category ids; an id that the map lacks is an InvalidArgumentError that names it."""
    places = tf.minimum(tf.searchsorted(raw, classes), len(raw) - 1)
    known = tf.gather(raw, places) == classes
    unknown = tf.boolean_mask(classes, ~known)
    with tf.control_dependencies(
        [tf.debugging.Assert(tf.reduce_all(known), ["category ids that the class map lacks:", unknown])]
    ):
        return tf.gather(model, places)


def choose(objects: Objects, placed: PlacedBoxes, skip_crowd: bool, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Which objects training uses.

    Those that are visible and, with ``skip_crowd``, no crowd; of more than ``most`` the largest by the area of their
    boxes in the padded image (the first of equals).

    Returns:
        int32 [k], their indices in stored order; int32 scalar, how many were left out for being too many.
    """
    wanted = placed.visible
    if skip_crowd:
        wanted &= ~objects.crowd
    indices = tf.cast(tf.where(wanted)[:, 0], tf.int32)
    sides = placed.pixels[:, 2:] - placed.pixels[:, :2]
    areas = tf.gather(sides[:, 0] * sides[:, 1], indices)
    count = tf.size(indices)
    largest = tf.math.top_k(areas, tf.minimum(count, most)).indices
    return tf.gather(indices, tf.sort(largest)), count - tf.minimum(count, most)
