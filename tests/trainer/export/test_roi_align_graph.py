"""Pooling in the exported graph, compared with TensorFlow's for boxes within the image."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from onnx import TensorProto, helper

from maskrcnn_trainer.export.dense import Emitted
from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.export.roi_align_graph import emit_roi_align, emit_sheet
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
    expected = np.transpose(np.reshape(expected, [-1, BINS, BINS, CHANNELS]), [0, 3, 1, 2])
    sampled = np.reshape(have_sides(boxes) | (not aligned) | (sampling_ratio > 0), -1)
    np.testing.assert_allclose(found[sampled], expected[sampled], atol=1e-4)


def have_sides(boxes: np.ndarray) -> np.ndarray:
    return np.all(boxes[..., 2:] > boxes[..., :2], axis=-1)


def test_each_box_has_a_sample_with_adaptive_sampling() -> None:
    """TensorRT divides by the number of samples; a side of 1e-5 pixels is rounded away on the sheet."""
    g = GraphBuilder()
    maps = {level: Emitted(f"p{level}", (CHANNELS, 64 >> level, 64 >> level)) for level in (2, 3)}
    boxes = np.array([[[0, 0, 0, 0], [20, 30, 20, 60], [60, 60, 60 + 1e-5, 64], [5, 6, 40, 7]]], np.float32)
    pooled = emit_roi_align(g, emit_sheet(g, maps), "boxes", 4, BINS, sampling_ratio=0, scope="rois")
    inputs: dict[str, tuple[int | str, ...]] = {one.name: ("N", *one.shape) for one in maps.values()}
    model = g.model("rois", {**inputs, "boxes": ("N", 4, 4)}, {pooled.name: ("R", CHANNELS, BINS, BINS)}, {})
    placed = next(node.input[1] for node in model.graph.node if node.op_type == "RoiAlign")
    model.graph.output.append(helper.make_tensor_value_info(placed, TensorProto.FLOAT, ["R", 4]))
    values = {one.name: np.ones((1, *one.shape), np.float32) for one in maps.values()}
    found, sides = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"boxes": boxes, **values})
    assert np.all(sides[:, 2:] > sides[:, :2])
    np.testing.assert_allclose(found, np.ones(found.shape), atol=1e-6)
