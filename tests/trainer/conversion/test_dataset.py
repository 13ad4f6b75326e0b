"""Records of dataset_convert read by TensorFlow: framing, messages, images, and masks; also of real data."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask
from tests.unit.small_records import parse_example

from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.conversion.example import make_example
from maskrcnn_trainer.data.coco import load_coco
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import frame, index_records

pytestmark = pytest.mark.trainer

FEATURES = {
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/source_id": tf.io.FixedLenFeature([], tf.string),
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    **{
        f"image/object/{name}": tf.io.RaggedFeature(dtype)
        for name, dtype in (
            ("bbox/xmin", tf.float32),
            ("bbox/xmax", tf.float32),
            ("bbox/ymin", tf.float32),
            ("bbox/ymax", tf.float32),
            ("class/text", tf.string),
            ("class/label", tf.int64),
            ("is_crowd", tf.int64),
            ("area", tf.float32),
            ("mask", tf.string),
        )
    },
}


def records(pattern: str) -> list[dict[str, Any]]:
    """Return all records; TensorFlow verifies framing and checksums."""
    files = sorted(tf.io.gfile.glob(pattern))
    parsed = [tf.io.parse_single_example(record, FEATURES) for record in tf.data.TFRecordDataset(files)]
    return [{key: value.numpy() for key, value in record.items()} for record in parsed]


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return the mask of an annotation, as from ``annToMask`` of pycocotools."""
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return coco_mask.decode(rle)


def pictures() -> dict[str, tuple[Image.Image, dict[str, Any]]]:
    """Return one image in every format, with the options to write it."""
    y, x = np.mgrid[0:30, 0:40]
    pixels = np.stack([x * 6, y * 8, 255 - x * 3], -1).astype(np.uint8)
    rgb = Image.fromarray(pixels)
    gray16 = Image.fromarray((x * 1600).astype(np.uint16))
    return {
        "baseline.jpg": (rgb, {"quality": 95}),
        "progressive.jpg": (rgb, {"quality": 95, "progressive": True}),
        "gray.jpg": (rgb.convert("L"), {}),
        "cmyk.jpg": (rgb.convert("CMYK"), {"quality": 95}),
        "rgb.png": (rgb, {}),
        "alpha.png": (rgb.convert("RGBA"), {}),
        "palette.png": (rgb.quantize(32), {}),
        "gray16.png": (gray16, {}),
        "bit.png": (rgb.convert("1"), {}),
        "plain.gif": (rgb.quantize(32), {}),
        "plain.bmp": (rgb, {}),
        "palette.bmp": (rgb.quantize(32), {}),
        "alpha.bmp": (rgb.convert("RGBA"), {}),
        "lossy.webp": (rgb, {}),
        "gray16.tiff": (gray16, {}),
        "cmyk.tiff": (rgb.convert("CMYK"), {}),
    }


def test_tensorflow_decodes_every_format(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    entries = []
    for number, (name, (image, options)) in enumerate(pictures().items()):
        image.save(tmp_path / "images" / name, **options)
        entries.append({"id": number, "file_name": name, "width": 40, "height": 30})
    (tmp_path / "set.json").write_text(
        json.dumps({"images": entries, "annotations": [], "categories": [{"id": 1, "name": "thing"}]})
    )
    convert_dataset(tmp_path / "images", tmp_path / "set.json", tmp_path, num_shards=1, processes=1)
    found = records(f"{tmp_path}/set-*")
    for (name, (image, _)), record in zip(pictures().items(), found, strict=True):
        decoded = tf.io.decode_image(record["image/encoded"], channels=3, expand_animations=False).numpy()
        expected = np.asarray(image.convert("RGB"), np.int32)
        if name.startswith("gray16"):
            expected = np.repeat((np.asarray(image) >> 8).astype(np.int32)[..., None], 3, -1)
        lossy = 8 if name.endswith(("jpg", "webp")) else 0
        assert np.abs(decoded - expected).mean() <= lossy, name
        stored = "jpeg" if name.endswith("jpg") else "png"
        assert record["image/format"].decode() == stored, name


def test_examples_are_those_of_tensorflow() -> None:
    byte_lists = {"b": [b"\x00\xff", b""], "none": []}
    float_lists = {"f": [0.5, -1e30], "no_floats": []}
    int_lists = {"i": [-1, 2**62], "no_ints": []}
    ours = make_example(byte_lists=byte_lists, float_lists=float_lists, int_lists=int_lists)
    features = {
        **{key: tf.train.Feature(bytes_list=tf.train.BytesList(value=value)) for key, value in byte_lists.items()},
        **{key: tf.train.Feature(float_list=tf.train.FloatList(value=value)) for key, value in float_lists.items()},
        **{key: tf.train.Feature(int64_list=tf.train.Int64List(value=value)) for key, value in int_lists.items()},
    }
    theirs = tf.train.Example(features=tf.train.Features(feature=features))
    assert ours == theirs.SerializeToString(deterministic=True)
    assert parse_example(theirs.SerializeToString())["i"] == [-1, 2**62]


def test_files_that_tensorflow_wrote_are_indexed(tmp_path: Path) -> None:
    payloads = [np.random.default_rng(i).bytes(size) for i, size in enumerate((0, 1, 2047, 2048, 70_000))]
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for payload in payloads:
            writer.write(payload)
    index = index_records(str(tmp_path / "x.tfrecord"))
    assert [*map(RecordReader(index).read, range(len(index)))] == payloads
    assert (tmp_path / "x.tfrecord").read_bytes() == b"".join(map(frame, payloads))


@pytest.mark.data
@pytest.mark.parametrize("name", ["coco", "nuclei"])
def test_real_data(test_data: Path, tmp_path: Path, name: str) -> None:
    annotations_file = test_data / name / "instances_val.json"
    summary = convert_dataset(test_data / name / "images", annotations_file, tmp_path, tag="val", num_shards=5)
    dataset = load_coco(annotations_file)
    found = {int(record["image/source_id"]): record for record in records(f"{tmp_path}/val-*-of-00005.tfrecord")}
    assert set(found) == {image.id for image in dataset.images}
    warned = json.loads((tmp_path / "val_warnings.json").read_text()) if summary.warnings_file else {}
    outside = {number for lists in warned.values() for number in lists["box"]}
    objects = 0
    for image in dataset.images:
        record = found[image.id]
        kept = [one for one in dataset.annotations_of(image.id) if one.id not in outside]
        objects += len(kept)
        assert (record["image/height"], record["image/width"]) == (image.height, image.width)
        assert record["image/format"] == b"jpeg"
        assert record["image/object/class/label"].tolist() == [one.category_id for one in kept]
        assert record["image/object/class/text"].tolist() == [
            dataset.categories[one.category_id].encode() for one in kept
        ]
        assert record["image/object/is_crowd"].tolist() == [one.is_crowd for one in kept]
        sides = np.stack([record[f"image/object/bbox/{side}"] for side in ("xmin", "ymin", "xmax", "ymax")], -1)
        boxes = np.array([one.bbox for one in kept]).reshape(-1, 4)
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], -1)
        expected_sides = corners / np.array([image.width, image.height] * 2)
        np.testing.assert_allclose(sides, expected_sides, rtol=1e-6, atol=1e-7)
        for png, annotation in list(zip(record["image/object/mask"], kept, strict=True))[:20]:
            expected = mask_of(annotation.segmentation, image.height, image.width)
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), expected)
            np.testing.assert_array_equal(tf.io.decode_png(png)[..., 0], expected)
    annotations = sum(map(len, dataset.annotations.values()))
    assert objects == summary.objects == annotations - summary.skipped
    assert summary.images == len(dataset.images)
