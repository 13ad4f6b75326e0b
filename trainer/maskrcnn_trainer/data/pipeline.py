"""From records to batches of static shape, for training and for evaluation.

Elements come in a fixed order whatever the number of workers, and everything random about an image is a function of the
seed and of its position in the global stream: two runs, or one that was interrupted, see the same batches.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data import examples, transforms
from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.masks import BORDER, crop_masks
from maskrcnn_trainer.data.order import DataOrder
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.record_objects import MASK_HEADER, mask_count_fault, mask_fault
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.data.rpn_targets import RpnTargetSettings, rpn_targets
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.failures import passed_through_tensorflow

_LOG = logging.getLogger(__name__)

PREFETCHED_BATCHES = 2
"""Batches prepared ahead where the spec leaves it open: one for the next step, one for the step after a slow read."""

_PROBED = 64
"""Records looked at for masks before training starts: a data set is converted with masks or without."""


def training_dataset(
    index: RecordIndex,
    spec: ExperimentSpec,
    class_map: ClassMap,
    anchors: NDArray[np.float32],
    *,
    start: int,
    rank: int,
    ranks: int,
    order: DataOrder | None = None,
    with_rpn_targets: bool = True,
) -> tf.data.Dataset:
    """Return the batches for training, without end: element k begins ``k * ranks * B`` images after ``start``.

    Every element is a dict of static shapes, with B = train_batch_size, (H, W) = image_size, N = max_num_instances,
    M = gt_mask_size and A anchors:

    - ``images`` float32 [B, H, W, 3], RGB, (x / 255 - mean) / .224, zeros below and to the right of the image
    - ``image_info`` float32 [B, 5]: shown height and width, 1 / scale, stored height and width
    - ``position`` int64 [B], place in the global stream
    - ``gt_boxes`` float32 [B, N, 4], y1 x1 y2 x2 in pixels of the padded image, padded with -1
    - ``gt_classes`` int32 [B, N], from 1, padded with -1
    - ``cropped_gt_masks`` uint8 [B, N, M + 4, M + 4], 255 inside, two cells of zero border, padded with 0
    - ``rpn_labels`` int32 [B, A]: 1, 0, or -1 for not drawn; ``rpn_box_targets`` float32 [B, A, 4]

    Args:
        index: the training records.
        spec: the experiment.
        class_map: from stored category ids to the model's.
        anchors: float32 [A, 4], y1 x1 y2 x2 in pixels of the padded image.
        start: position of the first image in the global stream, from 0: the number of images already trained on.
        rank, ranks: whose share of each step.
        order: of the records; that of a new training when None.
        with_rpn_targets: false leaves the two ``rpn_`` entries out, for a training step that computes them itself.

    Raises:
        InvalidInput: there are no records, or they have objects without masks. What is wrong with a single record shows
            when it is read, as a ``tf.errors.OpError`` that :func:`maskrcnn_trainer.task.failures.data_error` explains.
    """
    if len(index) == 0:
        raise InvalidInput(f"trainingFilePattern: {spec.data_config.training_file_pattern}: holds no records")
    probed = np.unique(np.linspace(0, len(index) - 1, _PROBED).astype(np.int64))
    record_summary(index, records=probed).require_masks()

    reader = RecordReader(index)
    stream = order or DataOrder(len(index), spec.seed)
    batch_size = spec.train_batch_size

    def record_at(position: int) -> int:
        (record,) = stream.records(np.array([position])).tolist()
        return int(record)

    def place_of(position: int) -> str:
        return index.place(record_at(position))

    def read(element: np.int64) -> tuple[NDArray[np.object_], np.int64]:
        step, row = divmod(int(element), batch_size)
        position = start + (step * ranks + rank) * batch_size + row
        return _text(reader.read(record_at(position))), np.int64(position)

    def read_record(element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        payload, position = tf.numpy_function(passed_through_tensorflow(read), [element], (tf.string, tf.int64))
        return tf.reshape(payload, []), tf.ensure_shape(position, [])

    workers = spec.data_config.n_workers
    dataset = _mapped(tf.data.Dataset.counter(), read_record, workers)
    example = _training_example(spec, class_map, anchors, place_of, with_rpn_targets)
    dataset = _mapped(dataset, example, parallel_calls(workers))
    return _finish(dataset.batch(batch_size, drop_remainder=True), spec)


def evaluation_dataset(
    index: RecordIndex,
    spec: ExperimentSpec,
    *,
    rank: int,
    ranks: int,
    limit: int,
) -> tf.data.Dataset:
    """Batches for evaluation: every image once, over all ranks.

    Rank r of R takes records r, r + R, ... Ranks may have a different number of batches, none where there are fewer
    records than ranks. Elements are dicts with B = eval_batch_size: ``images`` and ``image_info`` as in training (no
    augmentation), ``source_id`` string [B], ``valid`` bool [B]: false for the rows that fill up the last batch.

    Args:
        index: the validation records.
        spec: the experiment.
        rank, ranks: whose share.
        limit: the first so many records are used; 0 for all.
    """
    total = min(limit, len(index)) if limit else len(index)
    mine = np.arange(rank, total, ranks, dtype=np.int64)
    reader = RecordReader(index)
    image_size = spec.data_config.image_size
    batch_size = spec.eval_batch_size

    def read(record: np.int64) -> NDArray[np.object_]:
        return _text(reader.read(int(record)) if record >= 0 else b"")

    def read_record(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.reshape(tf.numpy_function(passed_through_tensorflow(read), [record], tf.string), []), record >= 0

    def image(payload: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded, source_id = examples.parse_image(payload)
        pixels = examples.decode(encoded)
        placement = transforms.place(tf.shape(pixels)[:2], image_size)
        return {
            "images": transforms.pad_image(pixels, placement, image_size),
            "image_info": transforms.image_info(placement),
            "source_id": source_id,
            "valid": tf.constant(True),
        }

    def filling() -> dict[str, tf.Tensor]:
        height, width = image_size
        return {
            "images": tf.zeros([height, width, 3]),
            "image_info": tf.constant([height, width, 1.0, height, width], tf.float32),
            "source_id": tf.constant(b""),
            "valid": tf.constant(False),
        }

    def example(payload: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor] | tf.Tensor:
        return tf.cond(valid, lambda: image(payload), filling)

    padded = np.concatenate([mine, np.full(-len(mine) % batch_size, -1, np.int64)])
    dataset = tf.data.Dataset.from_tensor_slices(padded)
    workers = spec.data_config.n_workers
    dataset = _mapped(_mapped(dataset, read_record, workers), example, parallel_calls(workers))
    return _finish(dataset.batch(batch_size, drop_remainder=True), spec)


def _text(payload: bytes) -> NDArray[np.object_]:
    """Return what ``tf.numpy_function`` makes a string of shape [1] of.

    TensorFlow 2.18 never frees the bytes in an object array without dimensions.
    """
    return np.array([payload], dtype=object)


def _mapped(dataset: tf.data.Dataset, function: Callable[..., Any], parallel_calls: int) -> tf.data.Dataset:
    """Return the data set of ``function`` of each element, in order.

    The functions choose by ``tf.cond`` and loop by ``tf.while_loop``: to have AutoGraph rewrite their sources at each
    start would take as long as importing TensorFlow.
    """
    plain = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(plain, num_parallel_calls=parallel_calls, deterministic=True)


def parallel_calls(n_workers: int, cpus: int | None = None) -> int:
    """Return the number of images decoded at once: ``n_workers``, at most two for each CPU of this process.

    Reads are not bounded by the CPUs: they wait for the storage.

    Args:
        n_workers: from the spec.
        cpus: CPUs of this process; when None, TensorFlow's number of threads where it was set (``maskrcnn launch``
            divides the machine over the ranks), else the CPUs that the process may run on.
    """
    if cpus is None:
        cpus = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
    return max(1, min(n_workers, 2 * cpus))


class _Cropped(NamedTuple):
    """What cropping the masks of one record needs to know, as numbers.

    Attributes:
        position: in the global stream.
        masks: number of them in the record; objects: the same.
        height, width: of the stored image.
        flipped: 1 where the image is mirrored.
        left_out: objects that are left out for being too many.
    """

    position: int
    masks: int
    objects: int
    height: int
    width: int
    flipped: int
    left_out: int


class _MaskCropper:
    """Crops the masks of a record in NumPy, outside the graph.

    Args:
        mask_size: side of a crop without its border.
        most: crops of an image, the missing ones zero.
        place_of: file and number of the record at a position of the global stream, for messages.
    """

    def __init__(self, mask_size: int, most: int, place_of: Callable[[int], str]) -> None:
        self._mask_size = mask_size
        self._most = most
        self._place_of = place_of
        self._oversize = _OversizeLog(most)

    def crops(
        self, masks: tf.Tensor, chosen: tf.Tensor, boxes: tf.Tensor, source_id: tf.Tensor, record: _Cropped
    ) -> tf.Tensor:
        """Return uint8 [most, M + 4, M + 4].

        Args:
            masks: string [m], those of all objects of the record.
            chosen: int32 [n], the objects to crop; boxes: float32 [n, 4], where, as fractions of the shown image.
            record: numbers of the record, as tensors.
        """
        # Another number of masks than of objects has nothing to gather; it is refused by the counts.
        stored = tf.cond(record.masks == record.objects, lambda: tf.gather(masks, chosen), lambda: masks[:0])
        numbers = tf.stack([tf.cast(number, tf.int64) for number in record])
        crops = tf.numpy_function(
            passed_through_tensorflow(self._crop), [stored, chosen, boxes, source_id, numbers], tf.uint8
        )
        side = self._mask_size + 2 * BORDER
        return tf.ensure_shape(crops, [self._most, side, side])

    def _crop(
        self,
        masks: NDArray[np.object_],
        chosen: NDArray[np.int32],
        boxes: NDArray[np.float32],
        source_id: bytes,
        numbers: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        record = _Cropped(*numbers.tolist())
        image = source_id.decode(errors="replace")
        if record.left_out:
            self._oversize.count(image, len(boxes) + record.left_out)
        try:
            fault = (
                mask_fault([png[:MASK_HEADER] for png in masks], chosen.tolist(), (record.height, record.width))
                if record.masks == record.objects
                else mask_count_fault(record.masks, record.objects)
            )
            if fault:
                raise ValueError(fault)
            crops = crop_masks(list(masks), boxes, bool(record.flipped), self._mask_size)
        except ValueError as error:
            raise InvalidInput(
                f"{self._place_of(record.position)} (image {image}): {error}; convert the data set again"
            ) from error
        return np.pad(crops, [(0, self._most - len(crops)), (0, 0), (0, 0)])


def _training_example(
    spec: ExperimentSpec,
    class_map: ClassMap,
    anchors: NDArray[np.float32],
    place_of: Callable[[int], str],
    with_rpn_targets: bool,
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """Return the function from a stored record and its position to an element of :func:`training_dataset`."""
    config = spec.data_config
    image_size, most = config.image_size, config.max_num_instances
    jitter = config.augmentation.scale_jitter if config.augmentation else None
    raw_ids, model_ids = examples.class_mapper(class_map)
    settings = RpnTargetSettings.from_config(spec.maskrcnn_config)
    cropper = _MaskCropper(spec.maskrcnn_config.gt_mask_size, most, place_of)

    def example(record: tf.Tensor, position: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded, source_id, objects = examples.parse_example(record)
        image, boxes, flipped = examples.decode(encoded), objects.boxes, tf.constant(False)
        if config.augment_input_data:
            image, boxes, flipped = _flipped_by_chance(image, boxes, spec.seed, position)
        placement = transforms.place(tf.shape(image)[:2], image_size, jitter=jitter, seed=spec.seed, position=position)
        placed = transforms.place_boxes(boxes, placement)
        chosen, left_out = examples.choose(objects, placed, config.skip_crowd_during_training, most)
        gt_boxes = tf.gather(placed.pixels, chosen)
        classes = examples.map_classes(tf.gather(objects.classes, chosen), raw_ids, model_ids)
        height, width = tf.unstack(tf.shape(image)[:2])
        numbers = _Cropped(position, tf.size(objects.masks), tf.shape(boxes)[0], height, width, flipped, left_out)
        rest = most - tf.size(chosen)
        element = {
            "images": transforms.pad_image(image, placement, image_size),
            "image_info": transforms.image_info(placement),
            "position": position,
            "gt_boxes": tf.ensure_shape(tf.pad(gt_boxes, [[0, rest], [0, 0]], constant_values=-1.0), [most, 4]),
            "gt_classes": tf.ensure_shape(tf.pad(classes, [[0, rest]], constant_values=-1), [most]),
            "cropped_gt_masks": cropper.crops(
                objects.masks, chosen, tf.gather(placed.fractions, chosen), source_id, numbers
            ),
        }
        if with_rpn_targets:
            element["rpn_labels"], element["rpn_box_targets"] = rpn_targets(
                anchors, gt_boxes, position, spec.seed, settings
            )
        return element

    return example


def _flipped_by_chance(
    image: tf.Tensor, boxes: tf.Tensor, seed: int, position: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return an image and its boxes, mirrored for half of the positions, and whether they are."""
    flipped = transforms.draw_flip(seed, position)
    image = tf.cond(flipped, lambda: tf.reverse(image, [1]), lambda: image)
    return image, tf.cond(flipped, lambda: transforms.flip_boxes(boxes), lambda: boxes), flipped


def _finish(dataset: tf.data.Dataset, spec: ExperimentSpec) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # TensorFlow's own choice of the prefetch buffer doubles it whenever it ran empty, to 2,048 batches and beyond: host
    # memory grows with each evaluation, during which it fills.
    options.autotune.enabled = False
    # A read holds its thread while it waits. The shared pool has a thread for each CPU.
    workers = spec.data_config.n_workers
    options.threading.private_threadpool_size = workers + parallel_calls(workers)
    return dataset.prefetch(spec.data_config.prefetch_buffer_size or PREFETCHED_BATCHES).with_options(options)


class _OversizeLog:
    """Counts images with too many objects; says so at the 1st, 2nd, 4th, 8th, ... of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._images = 0
        self._left_out = 0
        self._lock = threading.Lock()

    def count(self, image: str, objects: int) -> None:
        with self._lock:
            self._images += 1
            self._left_out += objects - self._most
            images, left_out = self._images, self._left_out
        if images & (images - 1) == 0:
            _LOG.warning(
                "Image %s has %d objects: the %d largest are used (maxNumInstances). So far %d objects of %d images "
                "were left out.",
                image,
                objects,
                self._most,
                left_out,
                images,
            )
