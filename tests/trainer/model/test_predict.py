"""Inference with the network: shapes, and agreement of the traced, compiled, and eager forms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.model import predict as predict_module
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.predict import InferenceSettings, predict
from maskrcnn_trainer.model.roi_align import roi_align
from maskrcnn_trainer.spec import parse_spec

pytestmark = pytest.mark.trainer

SETTINGS = InferenceSettings(pre_nms_topn=50, post_nms_topn=20, detections_per_image=6, rpn_nms_threshold=0.7)


def test_predictions_are_the_same_traced_and_under_xla() -> None:
    network = MaskRCNN(Architecture(nlayers=10, num_classes=4, fast_rcnn_mlp_head_dim=16), freeze_bn=False, seed=5)
    images = tf.constant(np.random.default_rng(0).normal(size=(2, 64, 128, 3)).astype(np.float32))
    for _ in range(3):
        network.feature_outputs(images, training=True)

    eager = predict(network, images, SETTINGS)
    assert [tuple(t.shape) for t in eager] == [(2, 6, 4), (2, 6), (2, 6), (2, 6, 28, 28)]
    assert float(tf.reduce_min(eager.scores[:, 0])) > 0.2
    assert np.all(np.diff(eager.scores, axis=1) <= 0)
    found = eager.scores.numpy() > 0
    assert set(np.unique(eager.classes.numpy()[found])) <= {1, 2, 3}
    boxes = eager.boxes.numpy()
    assert boxes.min() >= 0
    assert boxes[..., 2].max() <= 64
    assert boxes[..., 3].max() <= 128

    # The masks are those of the detected boxes and classes.
    patches = roi_align(network.feature_outputs(images)[0], eager.boxes, 14, 2, 6)
    full = network.mask_outputs(tf.reshape(patches, (12, 14, 14, 256))).numpy()
    own = np.stack([m[..., c] for m, c in zip(full, eager.classes.numpy().ravel(), strict=True)])
    np.testing.assert_allclose(eager.mask_logits.numpy().reshape(12, 28, 28), own, atol=1e-5)

    for jit in (False, True):
        compiled = tf.function(lambda x, jit=jit: predict(network, x, SETTINGS, compiled=jit), jit_compile=jit)(images)
        np.testing.assert_allclose(compiled.scores, eager.scores, atol=1e-5)
        np.testing.assert_array_equal(compiled.classes, eager.classes)
        np.testing.assert_allclose(compiled.boxes, eager.boxes, atol=1e-2)
        np.testing.assert_allclose(compiled.mask_logits, eager.mask_logits, atol=1e-3)


def test_settings_come_from_the_spec() -> None:
    spec = parse_spec(
        {
            "totalSteps": 10,
            "initLearningRate": 0.01,
            "dataConfig": {"imageSize": [256, 256], "numClasses": 4},
            "maskrcnnConfig": {"testRpnPreNmsTopn": 321, "testNms": 0.4, "testDetectionsPerImage": 7},
        }
    )
    settings = InferenceSettings.from_spec(spec, Architecture(num_classes=4))
    assert (settings.pre_nms_topn, settings.nms_threshold, settings.detections_per_image) == (321, 0.4, 7)
    assert (settings.score_threshold, settings.candidate_limit) == (0.0, 1000)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0.05, None)),
        ({"testScoreThreshold": 0}, (0.0, None)),
        ({"testCandidateLimit": 1000}, (0.05, 1000)),
        ({"testScoreThreshold": 0.3, "testCandidateLimit": 1}, (0.3, 1)),
    ],
)
def test_threshold_and_limit_follow_the_model_unless_they_are_given(
    given: dict[str, Any], expected: tuple[float, int | None]
) -> None:
    spec = parse_spec(
        {
            "totalSteps": 10,
            "initLearningRate": 0.01,
            "dataConfig": {"imageSize": [256, 256], "numClasses": 4},
            "maskrcnnConfig": given,
        }
    )
    model = Architecture(num_classes=4, score_threshold=0.05, candidate_limit=None)
    settings = InferenceSettings.from_spec(spec, model)
    assert (settings.score_threshold, settings.candidate_limit) == expected
    threshold, limit = expected
    pairs = 50 * (100 if threshold == 0 else math.floor(1 / threshold))
    assert settings.candidates(50, 100) == (pairs if limit is None else min(limit, pairs))


def test_settings_of_the_architecture_and_of_the_inference_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = Architecture(
        nlayers=10,
        num_classes=3,
        fast_rcnn_mlp_head_dim=8,
        anchor_offset=0.0,
        roi_max_level=5,
        roi_aligned=False,
        roi_sampling_ratio=0,
        clip_small_deltas=True,
        rank_by_sigmoid=True,
        least_proposal_side=3.0,
        least_detection_side=4.0,
    )
    used: dict[str, list[dict[str, Any]]] = {}
    for name in ("propose", "detect", "roi_align"):
        original = getattr(predict_module, name)

        def recorded(*given: Any, name: str = name, original: Any = original, **options: Any) -> Any:
            used.setdefault(name, []).append({**options, "given": given})
            return original(*given, **options)

        monkeypatch.setattr(predict_module, name, recorded)
    settings = replace(SETTINGS, rpn_min_size=2.0, score_threshold=0.25, candidate_limit=30)
    predict(MaskRCNN(architecture), tf.zeros((1, 64, 128, 3)), settings)
    (proposed,), (detected,) = used["propose"], used["detect"]
    assert (proposed["clip_small_deltas"], proposed["rank_by_sigmoid"], proposed["min_size"]) == (True, True, 3.0)
    np.testing.assert_array_equal(proposed["given"][2], generate_anchors(architecture, (64, 128)))
    assert (detected["clip_small_deltas"], detected["least_side"]) == (True, 4.0)
    assert (detected["score_threshold"], detected["candidate_limit"]) == (0.25, 30)
    assert [pooled["given"][3:5] for pooled in used["roi_align"]] == [(2, 5), (2, 5)]
    assert [(pooled["aligned"], pooled["sampling_ratio"]) for pooled in used["roi_align"]] == [(False, 0)] * 2
