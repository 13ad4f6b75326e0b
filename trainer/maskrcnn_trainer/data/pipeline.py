"""Input pipeline: from records to batches of static shape, for training and for evaluation.

The order of the elements does not depend on the number of workers, and all random choices for an image are functions of
the seed and of its position in the global stream. Two runs get the same batches, also if one was interrupted.
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
from maskrcnn_trainer.data.gpu_batches import copied_ahead, sent_form
from maskrcnn_trainer.data.masks import CROP_BORDER, crop_masks
from maskrcnn_trainer.data.order import DataOrder
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.record_objects import MASK_HEADER, mask_count_fault, mask_fault
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.data.rpn_targets import RpnTargetSettings, rpn_targets
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.device import on_gpu
from maskrcnn_trainer.task.failures import passed_through_tensorflow

_LOG = logging.getLogger(__name__)

PREFETCHED_BATCHES = 2
"""Batches prepared ahead if the spec gives no number: one for the next step, and one to cover a slow read."""

_PROBED = 64
"""Records checked for masks before training starts; a data set is converted either with masks or without."""


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
    """Return the infinite data set of training batches; element k begins ``k * ranks * B`` images after ``start``.

    Each element is a dict of static shapes, with B = train_batch_size, (H, W) = image_size, N = max_num_instances,
    M = gt_mask_size, and A anchors:

    - ``images`` float32 [B, H, W, 3], RGB, (x / 255 - mean) / .224, zeros below and to the right of the image
    - ``image_info`` float32 [B, 5]: height and width of the part shown, 1 / scale, stored height and width
    - ``position`` int64 [B], in the global stream
    - ``gt_boxes`` float32 [B, N, 4], y1 x1 y2 x2 in pixels of the padded image, padded with -1
    - ``gt_classes`` int32 [B, N], from 1, padded with -1
    - ``cropped_gt_masks`` uint8 [B, N, M + 4, M + 4], 255 inside, two cells of zero border, padded with 0
    - ``rpn_labels`` int32 [B, A]: 1 object, 0 background, -1 not sampled; ``rpn_box_targets`` float32 [B, A, 4]

    Where a GPU trains, elements are on it, in a form that ``gpu_batches.trained_form`` changes into the one above:
    ``images`` uint8, the resized pixels rounded, with zeros as padding; ``gt_classes`` int64, ``rpn_labels`` int8.

    Args:
        index: the training records.
        spec: the experiment.
        class_map: from stored category ids to those of the model.
        anchors: float32 [A, 4], y1 x1 y2 x2 in pixels of the padded image.
        start: position of the first image in the global stream, from 0: the number of images already trained on.
        rank: of this process, from 0.
        ranks: number of processes, each of which reads its part of each step.
        order: of the records; that of a new training if None.
        with_rpn_targets: false leaves out the two ``rpn_`` entries, for a training step that computes them itself.

    Raises:
        InvalidInput: there are no records, or they have objects without masks. A fault of a single record is raised
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
    for_gpu = on_gpu()
    example = _training_example(spec, class_map, anchors, place_of, with_rpn_targets=with_rpn_targets, for_gpu=for_gpu)
    dataset = _mapped(dataset, example, parallel_calls(workers))
    dataset = _finish(dataset.batch(batch_size, drop_remainder=True), spec)
    return copied_ahead(dataset) if for_gpu else dataset


def evaluation_dataset(
    index: RecordIndex,
    spec: ExperimentSpec,
    *,
    rank: int,
    ranks: int,
    limit: int,
) -> tf.data.Dataset:
    """Return the batches for evaluation; together the ranks read every image once.

    Rank r of R reads records r, r + R, ... The number of batches may differ between ranks, and is 0 for some if there
    are fewer records than ranks. Elements are dicts with B = eval_batch_size: ``images`` and ``image_info`` as in
    training (no augmentation), ``source_id`` string [B], ``valid`` bool [B]: false for elements that fill up the last
    batch.

    Args:
        index: the validation records.
        spec: the experiment.
        rank: of this process, from 0.
        ranks: number of processes.
        limit: number of records to use, from the first; 0 for all.
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
        pixels = examples.decode_stored(encoded)
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
    """Return bytes in the form that ``tf.numpy_function`` converts to a string of shape [1].

    A scalar would leak: TensorFlow 2.18 never frees the bytes in an object array without dimensions.
    """
    return np.array([payload], dtype=object)


def _mapped(dataset: tf.data.Dataset, function: Callable[..., Any], parallel_calls: int) -> tf.data.Dataset:
    """Return the data set with ``function`` applied to each element, in order.

    The functions use ``tf.cond`` and ``tf.while_loop`` instead of AutoGraph, which would take as long to convert them
    at each start as the import of TensorFlow.
    """
    plain = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(plain, num_parallel_calls=parallel_calls, deterministic=True)


def parallel_calls(n_workers: int, cpus: int | None = None) -> int:
    """Return the number of images decoded at once: ``n_workers``, but at most two for each CPU of this process.

    The limit does not apply to reads, which wait for the storage and not for a CPU.

    Args:
        n_workers: from the spec.
        cpus: CPUs of this process. If None, TensorFlow's number of threads if it was set (``maskrcnn launch`` divides
            the machine among the ranks), otherwise the CPUs that the process may run on.
    """
    if cpus is None:
        cpus = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
    return max(1, min(n_workers, 2 * cpus))


class _Cropped(NamedTuple):
    """Numbers that cropping the masks of one record needs.

    Attributes:
        position: in the global stream.
        masks: number of masks in the record.
        objects: number of objects in the record.
        height: of the stored image.
        width: of the stored image.
        flipped: 1 if the image is mirrored, otherwise 0.
        left_out: number of objects above the largest number of an image.
    """

    position: int
    masks: int
    objects: int
    height: int
    width: int
    flipped: int
    left_out: int


class _MaskCropper:
    """Cropping of the masks of a record in NumPy, outside the graph.

    Args:
        mask_size: side of a crop without its border.
        most: number of crops of each image; those without an object are zero.
        place_of: returns file and number of the record at a position of the global stream, for messages.
    """

    def __init__(self, mask_size: int, most: int, place_of: Callable[[int], str]) -> None:
        self._mask_size = mask_size
        self._most = most
        self._place_of = place_of
        self._oversize = _OversizeLog(most)

    def crops(
        self, masks: tf.Tensor, chosen: tf.Tensor, boxes: tf.Tensor, source_id: tf.Tensor, record: _Cropped
    ) -> tf.Tensor:
        """Return the crops of the chosen objects, uint8 [most, M + 4, M + 4].

        Args:
            masks: string [m], those of all objects of the record.
            chosen: int32 [n], indices of the objects to crop.
            boxes: float32 [n, 4], their boxes, y1 x1 y2 x2 in fractions of the (flipped) image.
            source_id: string scalar, for messages.
            record: numbers of the record, as tensors.

        Raises:
            tf.errors.OpError: the number of masks differs from that of objects, or a mask is invalid.
        """
        # If masks and objects differ in number, nothing can be gathered; _crop then refuses the record.
        stored = tf.cond(record.masks == record.objects, lambda: tf.gather(masks, chosen), lambda: masks[:0])
        numbers = tf.stack([tf.cast(number, tf.int64) for number in record])
        crops = tf.numpy_function(
            passed_through_tensorflow(self._crop), [stored, chosen, boxes, source_id, numbers], tf.uint8
        )
        side = self._mask_size + 2 * CROP_BORDER
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
    *,
    with_rpn_targets: bool,
    for_gpu: bool,
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """Return the function from a stored record and its position to an element of :func:`training_dataset`."""
    config = spec.data_config
    image_size, most = config.image_size, config.max_num_instances
    jitter = config.augmentation.scale_jitter if config.augmentation else None
    raw_ids, model_ids = examples.class_mapper(class_map)
    settings = RpnTargetSettings.from_config(spec.maskrcnn_config)
    cropper = _MaskCropper(spec.maskrcnn_config.gt_mask_size, most, place_of)
    pad = transforms.pad_pixels if for_gpu else transforms.pad_image

    def example(record: tf.Tensor, position: tf.Tensor) -> dict[str, tf.Tensor]:
        encoded, source_id, objects = examples.parse_example(record)
        image, boxes, flipped = examples.decode_stored(encoded), objects.boxes, tf.constant(False)
        if config.augment_input_data:
            image, boxes, flipped = _flipped_by_chance(image, boxes, spec.seed, position)
        placement = transforms.place(tf.shape(image)[:2], image_size, jitter=jitter, seed=spec.seed, position=position)
        placed = transforms.place_boxes(boxes, placement)
        chosen, left_out = examples.choose_objects(objects, placed, config.skip_crowd_during_training, most)
        gt_boxes = tf.gather(placed.pixels, chosen)
        classes = examples.map_classes(tf.gather(objects.classes, chosen), raw_ids, model_ids)
        height, width = tf.unstack(tf.shape(image)[:2])
        numbers = _Cropped(position, tf.size(objects.masks), tf.shape(boxes)[0], height, width, flipped, left_out)
        rest = most - tf.size(chosen)
        element = {
            "images": pad(image, placement, image_size),
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
        return sent_form(element) if for_gpu else element

    return example


def _flipped_by_chance(
    image: tf.Tensor, boxes: tf.Tensor, seed: int, position: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return an image and its boxes, mirrored for half of the positions, and whether they are mirrored."""
    flipped = transforms.draw_flip(seed, position)
    image = tf.cond(flipped, lambda: tf.reverse(image, [1]), lambda: image)
    return image, tf.cond(flipped, lambda: transforms.flip_boxes(boxes), lambda: boxes), flipped


def _finish(dataset: tf.data.Dataset, spec: ExperimentSpec) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # TensorFlow's autotuning doubles the prefetch buffer whenever it was empty, to 2,048 batches and beyond. The buffer
    # fills during each evaluation, so host memory would grow with each.
    options.autotune.enabled = False
    # A read blocks its thread while it waits, and the shared pool has only one thread for each CPU.
    workers = spec.data_config.n_workers
    options.threading.private_threadpool_size = workers + parallel_calls(workers)
    return dataset.prefetch(spec.data_config.prefetch_buffer_size or PREFETCHED_BATCHES).with_options(options)


class _OversizeLog:
    """Count of images with too many objects, logged at the 1st, 2nd, 4th, 8th, ... of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._images = 0
        self._left_out = 0
        self._lock = threading.Lock()

    def count(self, image: str, objects: int) -> None:
        """Count an image that has this number of objects."""
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
