"""Pooling of boxes and masks as the architecture specifies, in training and in inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.model import predict as inference
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.roi_align import roi_align
from maskrcnn_trainer.training.schedule import Schedule
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import TrainStep

pytestmark = pytest.mark.trainer

ARCHITECTURE = Architecture(
    nlayers=10, num_classes=3, fast_rcnn_mlp_head_dim=16, roi_max_level=5, roi_aligned=False, roi_sampling_ratio=0
)
SIZE = (64, 64)


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    return MaskRCNN(ARCHITECTURE, seed=5)


def test_inference_pools_as_the_architecture_names(network: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def recorded(*given: Any, **settings: Any) -> tf.Tensor:
        calls.append((given[2:], settings))
        return roi_align(*given, **settings)

    monkeypatch.setattr(inference, "roi_align", recorded)
    settings = inference.InferenceSettings(pre_nms_topn=50, post_nms_topn=20, detections_per_image=6)
    inference.predict(network, tf.zeros([1, *SIZE, 3]), settings)
    pooling = {"sampling_ratio": 0, "aligned": False, "compiled": False}
    assert calls == [((7, 2, 5), pooling), ((14, 2, 5), pooling)]


def test_training_pools_as_the_architecture_names(network: MaskRCNN) -> None:
    step = TrainStep(network, TrainSettings(Schedule(0.01)), generate_anchors(ARCHITECTURE, SIZE), SIZE)
    generator = np.random.default_rng(0)
    features = {
        level: tf.constant(generator.normal(size=(1, SIZE[0] >> level, SIZE[1] >> level, 3)), tf.float32)
        for level in ARCHITECTURE.levels
    }
    boxes = tf.constant([[[0.0, 0.0, 64.0, 64.0], [5.0, 3.0, 50.0, 6.0], [-300.0, -300.0, 700.0, 700.0]]])
    expected = roi_align(features, boxes, 4, 2, 5, sampling_ratio=0, aligned=False)
    np.testing.assert_array_equal(step._crops(features, boxes, 4), expected[0])
