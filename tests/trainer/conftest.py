"""Small data sets of records, written with TensorFlow's own writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.spec import ExperimentSpec


@dataclass
class Thing:
    """Annotated object: y1 x1 y2 x2 in pixels; the mask is the whole box unless given."""

    box: tuple[float, float, float, float]
    label: int = 1
    crowd: int = 0
    name: str = ""
    mask: np.ndarray | None = None


@dataclass
class Picture:
    """Content of a record."""

    pixels: np.ndarray
    things: list[Thing] = field(default_factory=list)
    source_id: str = "1"
    encoded: bytes | None = None
    with_masks: bool = True

    def example(self) -> bytes:
        height, width = self.pixels.shape[:2]

        def png(thing: Thing) -> bytes:
            mask = thing.mask
            if mask is None:
                mask = np.zeros((height, width), np.uint8)
                y1, x1, y2, x2 = (round(side) for side in thing.box)
                mask[y1:y2, x1:x2] = 1
            return cv2.imencode(".png", mask)[1].tobytes()

        encoded = self.encoded or cv2.imencode(".png", self.pixels[..., ::-1])[1].tobytes()
        boxes = np.array([thing.box for thing in self.things], np.float32).reshape(-1, 4)
        boxes /= np.array([height, width, height, width], np.float32)
        features: dict[str, Any] = {
            "image/encoded": [encoded],
            "image/source_id": [self.source_id.encode()],
            "image/height": [height],
            "image/width": [width],
            "image/object/class/label": [thing.label for thing in self.things],
            "image/object/is_crowd": [thing.crowd for thing in self.things],
            **{f"image/object/bbox/{side}": boxes[:, k] for k, side in enumerate(("ymin", "xmin", "ymax", "xmax"))},
        }
        if any(thing.name for thing in self.things):
            features["image/object/class/text"] = [thing.name.encode() for thing in self.things]
        if self.with_masks:
            features["image/object/mask"] = [png(thing) for thing in self.things]
        return tf.train.Example(
            features=tf.train.Features(feature={key: _feature(key, values) for key, values in features.items()})
        ).SerializeToString()


def _feature(key: str, values: Sequence[Any]) -> tf.train.Feature:
    if key in ("image/encoded", "image/source_id", "image/object/mask", "image/object/class/text"):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values, np.ndarray):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@pytest.fixture
def thing() -> type[Thing]:
    return Thing


@pytest.fixture
def picture() -> type[Picture]:
    return Picture


@pytest.fixture
def write_records(tmp_path: Path) -> Callable[..., RecordIndex]:
    """Return ``write(pictures, shards)``, which writes pictures to shards and returns their index."""

    def write(pictures: Sequence[Picture], shards: int = 2) -> RecordIndex:
        names = [str(tmp_path / f"train-{k:05d}-of-{shards:05d}.tfrecord") for k in range(shards)]
        writers = [tf.io.TFRecordWriter(name) for name in names]
        for number, one in enumerate(pictures):
            writers[number * shards // max(1, len(pictures))].write(one.example())
        for writer in writers:
            writer.close()
        return index_records(str(tmp_path / "train-*.tfrecord"))

    return write


@pytest.fixture
def on_cpu_and_for_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """Return a function that traces another for the CPU and as where there is a GPU, and runs both on the CPU."""

    def run(function: Callable[[], Any]) -> tuple[Any, Any]:
        on_cpu = tf.function(function, autograph=False)()
        listed = tf.config.list_logical_devices
        gpu = tf.config.LogicalDevice("/device:GPU:0", "GPU")
        with monkeypatch.context() as patch:
            patch.setattr(tf.config, "list_logical_devices", lambda kind=None: [gpu] if kind == "GPU" else listed(kind))
            return on_cpu, tf.function(function, autograph=False)()

    return run


@pytest.fixture
def make_spec() -> Callable[..., ExperimentSpec]:
    """Return a function that makes a spec with padded images of 128 x 192 and two classes."""

    def make(*, data: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **top: Any) -> ExperimentSpec:
        return ExperimentSpec.model_validate(
            {
                "init_learning_rate": 0.01,
                "total_steps": 10,
                "train_batch_size": 2,
                "eval_batch_size": 2,
                "seed": 7,
                **top,
                "data_config": {
                    "image_size": [128, 192],
                    "num_classes": 3,
                    "max_num_instances": 4,
                    "training_file_pattern": "train-*",
                    **(data or {}),
                },
                "maskrcnn_config": {"gt_mask_size": 28, "anchor_scale": 4, **(model or {})},
            }
        )

    return make
