from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data import pipeline
from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.order import DataOrder
from maskrcnn_trainer.data.pipeline import evaluation_dataset, parallel_calls, training_dataset
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.data.rpn_targets import RpnTargetSettings, rpn_targets
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.failures import data_error

pytestmark = pytest.mark.trainer

Element = dict[str, np.ndarray]
MakeSpec = Callable[..., ExperimentSpec]
WriteRecords = Callable[..., RecordIndex]

TWO_CLASSES = ClassMap((1, 2), ("a", "b"), 3)
PLAIN = {"augment_input_data": False, "shuffle_buffer_size": 1}
GRAY = np.full((64, 96, 3), 200, np.uint8)


def elements(
    index: RecordIndex, spec: ExperimentSpec, count: int, class_map: ClassMap = TWO_CLASSES, **options: Any
) -> list[Element]:
    anchors = generate_anchors(Architecture.from_spec(spec), spec.data_config.image_size)
    order = DataOrder(len(index), spec.seed, spec.data_config.shuffle_buffer_size)
    settings = {"start": 0, "rank": 0, "ranks": 1, "order": order, **options}
    dataset = training_dataset(index, spec, class_map, anchors, **settings)
    return list(dataset.take(count).as_numpy_iterator())


def rows(batches: list[Element]) -> Iterator[Element]:
    for batch in batches:
        for row in range(len(batch["images"])):
            yield {key: value[row] for key, value in batch.items()}


def assert_equal(left: list[Element], right: list[Element]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key], err_msg=key)


@pytest.fixture
def shapes(write_records: WriteRecords, picture: type, thing: type) -> RecordIndex:
    """Eleven images of several sizes, with zero to four objects."""
    rng = np.random.default_rng(4)
    pictures = []
    for number in range(11):
        height, width = rng.integers(40, 300, 2)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        things = []
        for _ in range(number % 5):
            sides = rng.integers(8, [height // 2, width // 2])
            corner = rng.integers(0, [height - sides[0], width - sides[1]])
            mask = np.zeros((height, width), np.uint8)
            part = mask[corner[0] : corner[0] + sides[0], corner[1] : corner[1] + sides[1]]
            down, across = np.mgrid[: sides[0], : sides[1]] + 0.5
            part[:] = down / sides[0] > across / sides[1]  # below the diagonal: no symmetry
            things.append(thing((*corner, *(corner + sides)), int(rng.integers(1, 3)), mask=mask))
        pictures.append(picture(pixels, things, f"image-{number}"))
    return write_records(pictures, shards=3)


def test_shapes_are_static_and_values_are_as_documented(shapes: RecordIndex, make_spec: MakeSpec) -> None:
    spec = make_spec()
    anchors = generate_anchors(Architecture.from_spec(spec), (128, 192))
    dataset = training_dataset(shapes, spec, TWO_CLASSES, anchors, start=0, rank=0, ranks=1)
    assert {key: (tuple(one.shape), one.dtype) for key, one in dataset.element_spec.items()} == {
        "images": ((2, 128, 192, 3), tf.float32),
        "image_info": ((2, 5), tf.float32),
        "position": ((2,), tf.int64),
        "gt_boxes": ((2, 4, 4), tf.float32),
        "gt_classes": ((2, 4), tf.int32),
        "cropped_gt_masks": ((2, 4, 32, 32), tf.uint8),
        "rpn_labels": ((2, len(anchors)), tf.int32),
        "rpn_box_targets": ((2, len(anchors), 4), tf.float32),
    }
    settings = RpnTargetSettings.from_config(spec.maskrcnn_config)
    seen = 0
    for row in rows(list(dataset.take(12).as_numpy_iterator())):
        real = row["gt_classes"] != -1
        count = int(real.sum())
        assert real.tolist() == [True] * count + [False] * (4 - count)
        assert np.all(row["gt_boxes"][count:] == -1)
        assert not row["cropped_gt_masks"][count:].any()
        height, width, inverse, original_height, original_width = row["image_info"]
        assert height == 128 or width == 192
        assert abs(height * inverse - original_height) <= inverse
        assert abs(width * inverse - original_width) <= inverse
        assert not row["images"][int(height) :].any()
        assert not row["images"][:, int(width) :].any()
        boxes = row["gt_boxes"][:count]
        assert np.all((boxes >= 0) & (boxes <= [height, width, height, width]))
        labels, targets = rpn_targets(anchors, boxes, tf.constant(row["position"]), spec.seed, settings)
        np.testing.assert_array_equal(row["rpn_labels"], labels)
        np.testing.assert_allclose(row["rpn_box_targets"], targets, atol=1e-5)
        # A triangle covers half of its box, whatever the scale and the flip.
        inside = row["cropped_gt_masks"][:count, 2:-2, 2:-2] / 255.0
        assert np.all(np.abs(inside.mean((1, 2)) - 0.5) < 0.12)
        seen += count
    assert seen > 20


def test_flipped_pixels_boxes_and_masks_belong_together(
    write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type
) -> None:
    """Each object is a bright triangle on black: its mask, pasted into its box, must match the bright pixels."""
    rng = np.random.default_rng(9)
    pictures = []
    for number in range(4):
        pixels = np.zeros((128, 192, 3), np.uint8)
        top, left = rng.integers(0, [60, 90])
        mask = np.zeros((128, 192), np.uint8)
        mask[top : top + 60, left : left + 80] = np.tri(60, 80, 12 * number)
        pixels[mask != 0] = 255
        pictures.append(picture(pixels, [thing((top, left, top + 60, left + 80), mask=mask)], str(number)))
    index = write_records(pictures)
    spec = make_spec(data={"max_num_instances": 1}, model={"gt_mask_size": 112})
    flipped = 0
    plain = {
        row["position"] % 4: row for row in rows(elements(index, make_spec(data={**PLAIN, "max_num_instances": 1}), 2))
    }
    order = DataOrder(4, spec.seed)
    for row in rows(elements(index, spec, 8)):
        bright = row["images"][..., 0] > 0
        y1, x1, y2, x2 = row["gt_boxes"][0].round().astype(int)
        mask = np.zeros_like(bright)
        mask[y1:y2, x1:x2] = cv2.resize(row["cropped_gt_masks"][0, 2:-2, 2:-2], (x2 - x1, y2 - y1)) >= 127
        assert (bright & mask).sum() / (bright | mask).sum() > 0.97
        record = int(order.records(np.array([row["position"]]))[0])
        mirrored = not np.array_equal(row["images"], plain[record]["images"])
        if mirrored:
            np.testing.assert_array_equal(row["images"], plain[record]["images"][:, ::-1])
        flipped += mirrored
    assert 3 <= flipped <= 13


def test_same_elements_for_any_number_of_workers_and_ranks(shapes: RecordIndex, make_spec: MakeSpec) -> None:
    data = {"augmentation": {"scale_jitter": [0.6, 1.8]}, "shuffle_buffer_size": 5}
    alone = elements(shapes, make_spec(data={**data, "n_workers": 1}), 9)
    assert_equal(elements(shapes, make_spec(data={**data, "n_workers": 16, "prefetch_buffer_size": 3}), 9), alone)

    ranks = [elements(shapes, make_spec(data=data), 3, rank=rank, ranks=3) for rank in range(3)]
    assert_equal([ranks[k % 3][k // 3] for k in range(9)], alone)

    # 9 batches of 2 are 3 of 6.
    large = elements(shapes, make_spec(data=data, train_batch_size=6), 3)
    assert_equal(list(rows(large)), list(rows(alone)))

    resumed = elements(shapes, make_spec(data=data), 4, start=10)
    assert_equal(resumed, alone[5:])


def test_an_epoch_uses_every_record_once(shapes: RecordIndex, make_spec: MakeSpec) -> None:
    batches = elements(shapes, make_spec(data={"augment_input_data": False}), 11)
    sizes = [tuple(row["image_info"][3:]) for row in rows(batches)]
    assert sorted(sizes[:11]) == sorted(sizes[11:])
    assert len(set(sizes[:11])) == 11
    assert sizes[:11] != sizes[11:]
    assert np.concatenate([batch["position"] for batch in batches]).tolist() == list(range(22))


def test_jitter_moves_boxes_masks_and_pixels_together(
    write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type
) -> None:
    pixels = np.zeros((100, 150, 3), np.uint8)
    pixels[30:70, 40:100] = 255
    corner = np.zeros((100, 150), np.uint8)
    corner[0:10, 0:10] = 1
    index = write_records([picture(pixels, [thing((30, 40, 70, 100)), thing((0, 0, 10, 10), 2, mask=corner)])])
    spec = make_spec(data={"augmentation": {"scale_jitter": [0.3, 3.0]}}, train_batch_size=1)
    vanished, cut = 0, 0
    for row in rows(elements(index, spec, 40)):
        classes = row["gt_classes"][row["gt_classes"] > 0].tolist()
        vanished += 2 not in classes
        assert set(classes) <= {1, 2}
        if 1 not in classes:
            continue
        bright = row["images"][..., 0] > 0
        y1, x1, y2, x2 = row["gt_boxes"][classes.index(1)]
        found_y, found_x = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        np.testing.assert_allclose(
            [y1, x1, y2, x2], [found_y[0], found_x[0], found_y[-1] + 1, found_x[-1] + 1], atol=1.01
        )
        # The object fills its box, also if it was cropped.
        assert row["cropped_gt_masks"][classes.index(1), 2:-2, 2:-2].mean() > 240
        cut += row["image_info"][0] == 128 and (y2 == 128 or y1 == 0)
    assert vanished > 5
    assert cut > 3


def test_crowds(write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type) -> None:
    things = [thing((0, 0, 60, 90), 2, crowd=1), thing((10, 10, 40, 40), 1), thing((5, 50, 20, 80), 2)]
    index = write_records([picture(GRAY, things)])
    skipped = next(rows(elements(index, make_spec(data={**PLAIN, "skip_crowd_during_training": True}), 1)))
    assert skipped["gt_classes"].tolist() == [1, 2, -1, -1]
    kept = next(rows(elements(index, make_spec(data={**PLAIN, "skip_crowd_during_training": False}), 1)))
    assert kept["gt_classes"].tolist() == [2, 1, 2, -1]
    np.testing.assert_allclose(kept["gt_boxes"][0], [0, 0, 120, 180], atol=1e-3)
    np.testing.assert_array_equal(kept["cropped_gt_masks"][1:3], skipped["cropped_gt_masks"][:2])


def test_largest_of_too_many_objects_are_kept_in_order_with_a_warning(
    write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type, caplog: pytest.LogCaptureFixture
) -> None:
    sides = [10, 50, 20, 5, 40, 30, 12]
    things = [thing((0, 0, side, side), 1 + k % 2) for k, side in enumerate(sides)]
    index = write_records([picture(GRAY, things, "crowded")])
    with caplog.at_level(logging.WARNING, logger=pipeline.__name__):
        row = next(rows(elements(index, make_spec(data=PLAIN), 1)))
    np.testing.assert_allclose(row["gt_boxes"][:, 2], np.array([50, 20, 40, 30]) * 2, atol=1e-3)
    assert row["gt_classes"].tolist() == [2, 1, 1, 2]
    assert "Image crowded has 7 objects: the 4 largest are used (maxNumInstances)" in caplog.text
    assert "So far 3 objects of 1 images were left out" in caplog.text


def test_images_without_objects(write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type) -> None:
    index = write_records([picture(GRAY, [], "empty"), picture(GRAY, [thing((3, 3, 9, 9), crowd=1)], "crowd only")])
    for row in rows(elements(index, make_spec(), 1)):
        assert np.all(row["gt_classes"] == -1)
        assert np.all(row["gt_boxes"] == -1)
        assert not row["cropped_gt_masks"].any()
        assert not row["rpn_box_targets"].any()
        assert set(np.unique(row["rpn_labels"])) == {-1, 0}
        assert (row["rpn_labels"] == 0).sum() == 256


def encoded_png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


ENCODINGS: dict[str, tuple[bytes, list[float]]] = {
    "gray": (encoded_png(np.full((64, 96), 90, np.uint8)), [90, 90, 90]),
    "16 bit": (encoded_png(np.full((64, 96, 3), (10 << 8, 20 << 8, 30 << 8), np.uint16)), [30, 20, 10]),
    "16 bit gray": (encoded_png(np.full((64, 96), (77 << 8) + 3, np.uint16)), [77, 77, 77]),
    "alpha": (encoded_png(np.full((64, 96, 4), (10, 20, 30, 128), np.uint8)), [30, 20, 10]),
    "gray jpeg": (cv2.imencode(".jpg", np.full((64, 96), 90, np.uint8))[1].tobytes(), [90, 90, 90]),
    "bmp": (cv2.imencode(".bmp", np.full((64, 96, 3), (10, 20, 30), np.uint8))[1].tobytes(), [30, 20, 10]),
}


def test_every_kind_of_image_file_becomes_rgb(
    write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type
) -> None:
    pictures = [
        picture(GRAY, [thing((2, 2, 30, 30))], name, encoded=encoded) for name, (encoded, _) in ENCODINGS.items()
    ]
    index = write_records(pictures)
    batches = elements(index, make_spec(data=PLAIN), 3)
    for row, (name, (_, color)) in zip(rows(batches), ENCODINGS.items(), strict=True):
        expected = (np.array(color) / 255 - [0.485, 0.456, 0.406]) / 0.224
        np.testing.assert_allclose(row["images"][5, 7], expected, atol=0.02, err_msg=name)


def test_exif_rotation_is_not_applied(write_records: WriteRecords, make_spec: MakeSpec, picture: type) -> None:
    jpeg = cv2.imencode(".jpg", np.full((64, 96, 3), 90, np.uint8))[1].tobytes()
    # A minimal EXIF segment with orientation 6 (rotation by 90 degrees) after the start-of-image marker.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (96, 64)
    index = write_records([picture(GRAY, [], encoded=turned)])
    assert next(rows(elements(index, make_spec(), 1)))["image_info"][3:].tolist() == [64, 96]


def test_class_ids_with_gaps_become_model_ids(
    write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type
) -> None:
    things = [thing((2, 2, 30, 30), label) for label in (90, 7, 13, 90)]
    index = write_records([picture(GRAY, things)])
    spec = make_spec(data={**PLAIN, "num_classes": 4})
    mapped = next(rows(elements(index, spec, 1, class_map=ClassMap((7, 13, 90), ("", "", ""), 4))))
    assert mapped["gt_classes"].tolist() == [3, 1, 2, 3]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"class map lacks.*13") as raised:
        elements(index, spec, 1, class_map=ClassMap((7, 90), ("", ""), 3))
    assert data_error(raised.value) is None


def test_bad_records_are_explained(
    write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [thing((1, 2, 30, 40))]
    index = write_records([picture(GRAY, boxes, "a", with_masks=False), picture(GRAY, boxes, "b", with_masks=False)])
    with pytest.raises(InvalidInput, match=r"2 of 2 records have objects without masks.*--include_mask"):
        elements(index, make_spec(), 1)
    # One among thousands is not among the probed records, and is found when it is read.
    monkeypatch.setattr(pipeline, "_PROBED", 0)
    with pytest.raises(tf.errors.OpError) as raised:
        elements(index, make_spec(data=PLAIN), 1)
    explained = data_error(raised.value)
    assert explained is not None
    assert str(explained).startswith(f"{index.files[0]}: record 0 (image a): ")
    assert "image/object/mask has 0 values for 1 object" in str(explained)
    assert explained.exit_code == 64


def test_evaluation_sees_every_image_once_over_all_ranks(shapes: RecordIndex, make_spec: MakeSpec) -> None:
    spec = make_spec(eval_batch_size=4)
    for ranks, limit, total in ((1, 0, 11), (3, 0, 11), (4, 6, 6), (2, 100, 11), (5, 3, 3)):
        seen = []
        for rank in range(ranks):
            dataset = evaluation_dataset(shapes, spec, rank=rank, ranks=ranks, limit=limit)
            for batch in dataset.as_numpy_iterator():
                assert batch["images"].shape == (4, 128, 192, 3)
                valid = batch["valid"]
                seen += batch["source_id"][valid].tolist()
                assert not batch["images"][~valid].any()
                assert set(batch["source_id"][~valid].tolist()) <= {b""}
                assert np.all(batch["image_info"][:, 2] > 0)
        assert sorted(seen) == sorted(f"image-{k}".encode() for k in range(total))


def test_evaluation_pixels_are_those_of_training_without_augmentation(shapes: RecordIndex, make_spec: MakeSpec) -> None:
    spec = make_spec(data={**PLAIN, "augmentation": {"scale_jitter": [1.0, 1.0]}})
    training = list(rows(elements(shapes, make_spec(data=PLAIN), 5)))
    dataset = evaluation_dataset(shapes, spec, rank=0, ranks=1, limit=10)
    for one, other in zip(training, rows(list(dataset.as_numpy_iterator())), strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])
        np.testing.assert_array_equal(one["image_info"], other["image_info"])


def test_evaluation_needs_no_masks(
    write_records: WriteRecords, make_spec: MakeSpec, picture: type, thing: type
) -> None:
    index = write_records([picture(GRAY, [thing((1, 2, 30, 40))], "7\0", with_masks=False)])
    batch = next(iter(evaluation_dataset(index, make_spec(), rank=0, ranks=1, limit=0)))
    assert batch["source_id"].numpy().tolist() == [b"7\0", b""]
    assert batch["valid"].numpy().tolist() == [True, False]


class Reads:
    """Record reads that wait until the expected number of reads is in progress, or half a second."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._condition = threading.Condition()
        self._in_flight = 0
        self.most = 0
        self.count = 0

    def __call__(self, read: Callable[[int], bytes], record: int) -> bytes:
        with self._condition:
            self._in_flight += 1
            self.count += 1
            self.most = max(self.most, self._in_flight)
            self._condition.notify_all()
            self._condition.wait_for(lambda: self.most >= self._expected, timeout=0.5)
            self._in_flight -= 1
        return read(record)

    def settled(self) -> int:
        """Return the number of reads when it no longer changes."""
        count = -1
        while count != self.count:
            count = self.count
            time.sleep(0.5)
        return count


@pytest.fixture
def watch_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Reads]:
    def watch(expected: int) -> Reads:
        reads, read = Reads(expected), RecordReader.read
        monkeypatch.setattr(RecordReader, "read", lambda reader, record: reads(partial(read, reader), record))
        return reads

    return watch


def both_datasets(index: RecordIndex, spec: ExperimentSpec) -> dict[str, tf.data.Dataset]:
    anchors = generate_anchors(Architecture.from_spec(spec), spec.data_config.image_size)
    return {
        "training": training_dataset(index, spec, TWO_CLASSES, anchors, start=0, rank=0, ranks=1),
        "evaluation": evaluation_dataset(index, spec, rank=0, ranks=1, limit=0),
    }


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_as_many_records_are_read_at_once_as_there_are_workers(
    shapes: RecordIndex, make_spec: MakeSpec, watch_reads: Callable[[int], Reads], kind: str
) -> None:
    reads = watch_reads(9)
    next(iter(both_datasets(shapes, make_spec(data={"n_workers": 9}))[kind]))
    assert reads.most == 9


class Payload(bytes):
    """Bytes of a record, counted from read to release."""

    held = 0

    def __new__(cls, content: bytes) -> Payload:
        cls.held += 1
        return super().__new__(cls, content)

    def __del__(self) -> None:
        type(self).held -= 1


@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_records_are_released_once_they_are_decoded(
    shapes: RecordIndex, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    read = RecordReader.read
    monkeypatch.setattr(RecordReader, "read", lambda reader, record: Payload(read(reader, record)))
    assert len(list(both_datasets(shapes, make_spec())[kind].take(4))) == 4
    gc.collect()
    assert Payload.held == 0


@pytest.fixture
def plain(write_records: WriteRecords, picture: type) -> RecordIndex:
    """240 images without objects."""
    return write_records([picture(GRAY, [])] * 240)


@pytest.mark.parametrize(("kind", "buffer"), [("training", 0), ("training", 5), ("evaluation", 0)])
def test_no_pause_makes_the_pipeline_run_further_ahead(
    plain: RecordIndex, make_spec: MakeSpec, watch_reads: Callable[[int], Reads], kind: str, buffer: int
) -> None:
    reads = watch_reads(0)
    batches = iter(both_datasets(plain, make_spec(data={"n_workers": 1, "prefetch_buffer_size": buffer}))[kind])
    ahead = []
    for taken in (30, 60, 90):
        for _ in range(30):  # the buffer becomes empty, then has time to fill
            next(batches)
        ahead.append(reads.settled() - 2 * taken)
    # The prefetched batches of 2 images, and one that waits; then one or two images in each map.
    assert max(ahead) <= 2 * (buffer or 2) + 2 + 4


def test_parallel_calls() -> None:
    assert parallel_calls(16, cpus=2) == 4
    assert parallel_calls(3, cpus=2) == 3
    assert parallel_calls(16) >= 1
