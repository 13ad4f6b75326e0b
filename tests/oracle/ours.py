"""Stages of this network with the weights of another project's file, for inputs in PyTorch's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data.padded_image import pad_image
from maskrcnn_trainer.model.anchors import anchors_per_level, generate_anchors
from maskrcnn_trainer.model.boxes import clip_to_image, decode_boxes
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.predict import InferenceSettings
from maskrcnn_trainer.model.proposals import propose
from maskrcnn_trainer.model.roi_align import roi_align
from maskrcnn_trainer.spec import ExperimentSpec, parse_spec
from maskrcnn_trainer.weights.file import read_weight_file
from maskrcnn_trainer.weights.opening import DetectorOptions, OpenedDetector, open_detector
from maskrcnn_trainer.weights.project import project_of

Array = NDArray[Any]
CORNERS = [1, 0, 3, 2]
"""Position of y1 x1 y2 x2 in x1 y1 x2 y2, and of dy dx dh dw in dx dy dw dh."""


def opened(weights: Path, style: str | None, config: Path | None = None) -> OpenedDetector:
    """Return the detector in a file."""
    file = read_weight_file(weights)
    return open_detector(file, project_of(file), DetectorOptions(style=style, config=config))


def network_with(detector: OpenedDetector) -> MaskRCNN:
    """Return a network with the values of a detector; a value for each variable is needed."""
    network = MaskRCNN(detector.architecture)
    assert set(network.named_variables) == set(detector.values)
    for name, variable in network.named_variables.items():
        variable.assign(detector.values[name])
    return network


def spec_of(size: tuple[int, int], num_classes: int, **maskrcnn: Any) -> ExperimentSpec:
    """Return a spec that leaves all settings of the model to its file, but for the given ones."""
    return parse_spec(
        {
            "totalSteps": 1,
            "initLearningRate": 0.01,
            "dataConfig": {"imageSize": list(size), "numClasses": num_classes},
            "maskrcnnConfig": maskrcnn,
        }
    )


def normalized(pixels: Array) -> NDArray[np.float32]:
    """Return the network's input of images that fill their canvas, uint8 [N, H, W, 3]."""
    return np.stack([pad_image(image, image.shape[:2]).pixels for image in pixels])


class Stages:
    """Stages of a network, each a function of the values before it; maps are [N, C, H, W], boxes x1 y1 x2 y2."""

    def __init__(self, network: MaskRCNN, size: tuple[int, int]) -> None:
        self._network = network
        self._size = size
        self._settings = InferenceSettings.from_spec(
            spec_of(size, network.architecture.num_classes), network.architecture
        )
        architecture = network.architecture
        extractor = network.feature_extractor
        stages = [
            extractor.get_layer(stage.layer).output for stage in architecture.backbone.stages(architecture.nlayers)
        ]
        maps = [extractor.output[f"p{level}"] for level in architecture.levels]
        self._backbone = keras.Model(extractor.inputs, stages)
        self._pyramid = keras.Model(stages, maps)
        self._rpn = keras.Model(maps, [extractor.output["rpn_logits"], extractor.output["rpn_deltas"]])

    def backbone(self, pixels: Array) -> dict[str, Array]:
        """Return C2 to C5 of RGB pixels uint8 [N, H, W, 3]."""
        return _named("c", self._backbone([normalized(pixels)]))

    def pyramid(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return P2 to P6 of C2 to C5."""
        return _named("p", self._pyramid([_nhwc(values[f"c{level}"]) for level in range(2, 6)]))

    def rpn(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return logits [N, A] and deltas [N, A, 4] in anchor order of P2 to P6."""
        logits, deltas = self._rpn([_nhwc(values[f"p{level}"]) for level in range(2, 7)])
        return {"rpn_logits": logits.numpy(), "rpn_deltas": deltas.numpy()[..., CORNERS]}

    def decoded(self, deltas: Array) -> Array:
        """Return the boxes [N, A, 4] of all anchors, clipped to the image, of deltas [N, A, 4]."""
        anchors = generate_anchors(self._network.architecture, self._size)
        boxes = decode_boxes(
            tf.constant(deltas[..., CORNERS]), anchors, clip_small=self._network.architecture.clip_small_deltas
        )
        return clip_to_image(boxes, *self._size).numpy()[..., CORNERS]

    def proposals(self, logits: Array, deltas: Array) -> list[Array]:
        """Return the proposals [n, 4] of each image."""
        architecture = self._network.architecture
        boxes, scores = propose(
            tf.constant(logits),
            tf.constant(deltas[..., CORNERS]),
            generate_anchors(architecture, self._size),
            anchors_per_level(architecture, self._size),
            self._size,
            pre_nms_topn=self._settings.pre_nms_topn,
            post_nms_topn=self._settings.post_nms_topn,
            nms_threshold=self._settings.rpn_nms_threshold,
            min_size=max(self._settings.rpn_min_size, architecture.least_proposal_side),
            clip_small_deltas=architecture.clip_small_deltas,
            rank_by_sigmoid=architecture.rank_by_sigmoid,
        )
        return [one[kept][:, CORNERS] for one, kept in zip(boxes.numpy(), scores.numpy() > 0, strict=True)]

    def pooled(self, values: Mapping[str, Array], boxes: list[Array], side: int) -> Array:
        """Return features [R, C, side, side] of boxes [n, 4], as many of each image."""
        architecture = self._network.architecture
        pooled = roi_align(
            {level: tf.constant(_nhwc(values[f"p{level}"])) for level in architecture.levels},
            tf.constant(np.stack(boxes)[..., CORNERS]),
            side,
            architecture.min_level,
            architecture.highest_roi_level,
            sampling_ratio=architecture.roi_sampling_ratio,
            aligned=architecture.roi_aligned,
        )
        return _nchw(pooled.numpy().reshape(-1, *pooled.shape[2:]))

    def box_outputs(self, pooled: Array) -> dict[str, Array]:
        """Return class logits [R, K] and deltas [R, K, 4] of pooled features."""
        logits, deltas = self._network.box_outputs(tf.constant(_nhwc(pooled)))
        return {"class_logits": logits.numpy(), "box_deltas": deltas.numpy()[..., CORNERS]}

    def mask_outputs(self, pooled: Array) -> Array:
        """Return logits [R, K, 28, 28] of pooled features."""
        return _nchw(self._network.mask_outputs(tf.constant(_nhwc(pooled))).numpy())


def _named(prefix: str, maps: list[tf.Tensor]) -> dict[str, Array]:
    return {f"{prefix}{level}": _nchw(one.numpy()) for level, one in enumerate(maps, start=2)}


def _nchw(values: Array) -> Array:
    return np.moveaxis(values, -1, 1)


def _nhwc(values: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(values, 1, -1))
