"""Pooling in the exported graph, compared with TensorFlow's for boxes within the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from onnx import helper
from tests.trainer.export.conftest import smooth_images

from maskrcnn_trainer.detector.outputs import DETECTIONS, INPUT
from maskrcnn_trainer.export.dense import Emitted
from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.export.graph import check_graph, export_graph
from maskrcnn_trainer.export.roi_align_graph import emit_roi_align, emit_sheet
from maskrcnn_trainer.model.predict import InferenceSettings, predict
from maskrcnn_trainer.model.roi_align import roi_align

pytestmark = pytest.mark.trainer

BINS, CHANNELS = 7, 4


def boxes_of(image_size: tuple[int, int]) -> np.ndarray:
    """Return [2, R, 4] within the image: of all sizes, at the bounds of levels, and less than a cell at the edges."""
    height, width = image_size
    generator = np.random.default_rng(3)
    centers = generator.uniform(0, 1, (2, 40, 2)) * image_size
    sides = np.exp(generator.uniform(np.log(2), np.log(2 * max(image_size)), (2, 40, 1)))
    sides = sides * np.exp(generator.uniform(-0.5, 0.5, (2, 40, 2)))
    drawn = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1)
    special = [
        [0, 0, height, width],
        [60, 0, 68, width],
        [8, 3, 120, 115],
        [0, 0, 224, 224],
        [8, 16, 64, 72],
        [height, width, height, width],
        [height - 1, width - 2, height, width],
        [height - 3.5, 7, height, 50],
        [7, width - 0.25, 50, width],
        [7, width, 90, width],
        [0, 0, 0, 0],
        [0, 0, 1, 2],
        [20, 30, 20, 60],
    ]
    boxes = np.concatenate([drawn, np.broadcast_to(np.array(special), (2, len(special), 4))], axis=1)
    return np.clip(boxes, 0, [*image_size, *image_size]).astype(np.float32)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("image_size", "max_level"), [((256, 384), 5), ((448, 128), 6)])
def test_pooling_in_the_graph_is_that_of_the_network(
    image_size: tuple[int, int], max_level: int, aligned: bool, sampling_ratio: int
) -> None:
    generator = np.random.default_rng(1)
    boxes = boxes_of(image_size)
    features = {
        level: generator.normal(size=(2, image_size[0] >> level, image_size[1] >> level, CHANNELS)).astype(np.float32)
        for level in range(2, max_level + 1)
    }
    g = GraphBuilder()
    shapes = {f"p{level}": (CHANNELS, *feature.shape[1:3]) for level, feature in features.items()}
    sheet = emit_sheet(g, {level: Emitted(f"p{level}", shapes[f"p{level}"]) for level in features}, aligned=aligned)
    pooled = emit_roi_align(g, sheet, "boxes", boxes.shape[1], BINS, sampling_ratio=sampling_ratio, scope="rois")
    inputs: dict[str, tuple[int | str, ...]] = {name: ("N", *shape) for name, shape in shapes.items()}
    model = g.model(
        "rois", {**inputs, "boxes": ("N", boxes.shape[1], 4)}, {pooled.name: ("R", CHANNELS, BINS, BINS)}, {}
    )
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(
        None, {"boxes": boxes, **{f"p{level}": feature.transpose(0, 3, 1, 2) for level, feature in features.items()}}
    )

    maps = {level: tf.constant(feature) for level, feature in features.items()}
    expected = roi_align(maps, tf.constant(boxes), BINS, 2, max_level, sampling_ratio=sampling_ratio, aligned=aligned)
    expected = tf.transpose(tf.reshape(expected, [-1, BINS, BINS, CHANNELS]), [0, 3, 1, 2])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_exported_network_pools_as_its_architecture_names(build: Callable[..., Any]) -> None:
    network, spec, class_map = build((128, 192), 3)
    network.architecture = replace(network.architecture, roi_max_level=5, roi_aligned=False, roi_sampling_ratio=0)
    graph = check_graph(export_graph(network, spec, class_map))
    found = [
        {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        for node in graph.graph.node
        if node.op_type == "RoiAlign"
    ]
    assert [one["sampling_ratio"] for one in found] == [0, 0]
    assert [one["coordinate_transformation_mode"] for one in found] == [b"output_half_pixel"] * 2

    images = smooth_images((128, 192), 2)
    expected = predict(network, tf.constant(images), InferenceSettings.from_spec(spec, network.architecture))
    assert float(tf.reduce_max(expected.scores)) > 0
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (rows,) = session.run([DETECTIONS], {INPUT: images.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(rows[..., :4], expected.boxes, atol=1e-3)
    np.testing.assert_array_equal(rows[..., 4], expected.classes)
    np.testing.assert_allclose(rows[..., 5], expected.scores, atol=1e-5)
