"""Batches that are sent to a GPU, compared with those for the CPU; the CPU is taken for the GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.faults import named_faults
from maskrcnn_trainer.data.gpu_batches import copied_ahead, trained_form
from maskrcnn_trainer.data.padded_image import STD
from maskrcnn_trainer.data.pipeline import evaluation_dataset, training_dataset
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.failures import passed_through_tensorflow

pytestmark = pytest.mark.trainer

ANCHORS = np.array([[0, 0, 32, 32], [30, 30, 90, 90], [60, 100, 124, 180]], np.float32)
ONE_CLASS = ClassMap((1,), ("thing",), 2)
HALF_A_PIXEL = 0.5 / 255 / STD


@pytest.fixture
def index(write_records: Callable[..., RecordIndex], picture: type, thing: type) -> RecordIndex:
    """Six images of several sizes with one object each, some wider and some higher than the padded image."""
    generator = np.random.default_rng(1)
    pictures = []
    for number, size in enumerate(((64, 96), (90, 60), (200, 150), (50, 200), (140, 190), (33, 47))):
        pixels = generator.integers(0, 256, (*size, 3)).astype(np.uint8)
        pictures.append(picture(pixels, [thing((4, 4, 30, 40))], f"image-{number}"))
    return write_records(pictures)


def dataset_of(index: RecordIndex, spec: ExperimentSpec) -> tf.data.Dataset:
    return training_dataset(index, spec, ONE_CLASS, ANCHORS, start=0, rank=0, ranks=1)


def first_batches(dataset: tf.data.Dataset, count: int = 6) -> list[dict[str, tf.Tensor]]:
    batches = iter(dataset)
    return [next(batches) for _ in range(count)]


def test_batch_for_a_gpu_has_rounded_pixels_and_neither_int32_nor_strings(
    index: RecordIndex, make_spec: Callable[..., ExperimentSpec], gpu_that_is_the_cpu: None
) -> None:
    types = {name: one.dtype for name, one in dataset_of(index, make_spec()).element_spec.items()}
    assert types == {
        "images": tf.uint8,
        "image_info": tf.float32,
        "position": tf.int64,
        "gt_boxes": tf.float32,
        "gt_classes": tf.int64,
        "cropped_gt_masks": tf.uint8,
        "rpn_labels": tf.int8,
        "rpn_box_targets": tf.float32,
    }


def test_batch_sent_to_a_gpu_becomes_that_of_the_cpu_but_for_rounded_pixels(
    index: RecordIndex, make_spec: Callable[..., ExperimentSpec], request: pytest.FixtureRequest
) -> None:
    spec = make_spec()
    expected = first_batches(dataset_of(index, spec))
    request.getfixturevalue("gpu_that_is_the_cpu")
    for sent, batch in zip(first_batches(dataset_of(index, spec)), expected, strict=True):
        found = trained_form(sent)
        assert {name: one.dtype for name, one in found.items()} == {name: one.dtype for name, one in batch.items()}
        for name in batch.keys() - {"images"}:
            np.testing.assert_array_equal(found[name], batch[name], err_msg=name)
        for image, pixels, (height, width, *_) in zip(
            found["images"].numpy(), batch["images"].numpy(), batch["image_info"].numpy(), strict=True
        ):
            rounding = np.abs(image - pixels)
            assert 0.5 * HALF_A_PIXEL < rounding.max() <= HALF_A_PIXEL + 1e-5
            # rounded to the nearest: no shift of the mean
            assert abs((image - pixels)[: int(height), : int(width)].mean()) < 0.1 * HALF_A_PIXEL
            assert not image[int(height) :].any()
            assert not image[:, int(width) :].any()


def test_batch_of_the_cpu_is_trained_as_it_is(index: RecordIndex, make_spec: Callable[..., ExperimentSpec]) -> None:
    (batch,) = first_batches(dataset_of(index, make_spec()), 1)
    assert batch["images"].dtype == tf.float32
    found = trained_form(batch)
    assert all(found[name] is value for name, value in batch.items())


def test_next_batch_is_copied_to_the_gpu_in_the_last_transformation(
    index: RecordIndex,
    make_spec: Callable[..., ExperimentSpec],
    gpu_that_is_the_cpu: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies: list[tuple[str, int]] = []
    last = tf.data.Dataset.range(1)

    def prefetch_to_device(device: str, buffer_size: int) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        copies.append((device, buffer_size))
        return lambda dataset: last

    monkeypatch.setattr(tf.data.experimental, "prefetch_to_device", prefetch_to_device)
    assert dataset_of(index, make_spec()) is last
    assert copies == [("/device:CPU:0", 1)]


def test_evaluation_stays_in_float32_on_the_host_where_there_is_a_gpu(
    index: RecordIndex,
    make_spec: Callable[..., ExperimentSpec],
    gpu_that_is_the_cpu: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(tf.data.experimental, "prefetch_to_device")
    found = evaluation_dataset(index, make_spec(), rank=0, ranks=1, limit=0).element_spec
    assert (found["images"].dtype, found["source_id"].dtype) == (tf.float32, tf.string)


def test_error_of_a_record_keeps_its_message_on_the_way_to_a_gpu(
    index: RecordIndex,
    make_spec: Callable[..., ExperimentSpec],
    gpu_that_is_the_cpu: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = RecordReader.read

    def damaged(reader: RecordReader, record: int) -> bytes:
        if record == 3:
            raise InvalidInput("record 3 is damaged")
        return read(reader, record)

    monkeypatch.setattr(RecordReader, "read", damaged)
    batches = named_faults(dataset_of(index, make_spec()), index, lambda _: [], ONE_CLASS)
    with pytest.raises(InvalidInput, match="record 3 is damaged"):
        for _ in range(6):
            next(batches)


def test_undecodable_image_is_named_on_the_way_to_a_gpu(
    write_records: Callable[..., RecordIndex],
    make_spec: Callable[..., ExperimentSpec],
    picture: type,
    thing: type,
    gpu_that_is_the_cpu: None,
) -> None:
    gray = np.full((96, 128, 3), 90, np.uint8)
    index = write_records([picture(gray, [thing((2, 2, 30, 30))], "broken", encoded=b"\xff\xd8\xff no picture")])
    with pytest.raises(InvalidInput, match=r"\(image broken\): the JPEG in image/encoded is damaged or cut off"):
        next(named_faults(dataset_of(index, make_spec()), index, lambda _: [0], ONE_CLASS))


def test_threads_of_the_pipeline_remain_its_own_behind_the_copy_to_a_gpu(gpu_that_is_the_cpu: None) -> None:
    """More functions wait at once than the shared pool of TensorFlow has threads."""
    together = threading.Barrier(9)

    def wait(number: Any) -> Any:
        together.wait(20)
        return number

    options = tf.data.Options()
    options.threading.private_threadpool_size = 12
    numbers = tf.data.Dataset.range(9).map(
        lambda number: tf.numpy_function(passed_through_tensorflow(wait), [number], tf.int64), num_parallel_calls=9
    )
    assert sorted(copied_ahead(numbers.with_options(options)).as_numpy_iterator()) == list(range(9))
