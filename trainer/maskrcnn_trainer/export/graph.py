"""Export of the whole network as one ONNX model of standard operators."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any

import numpy as np
import onnx

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.padded_image import MEAN, STD
from maskrcnn_trainer.detector.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_trainer.detector.outputs import DETECTIONS, INPUT, MASK_LOGITS
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.dense import Emitted, LayerEmitter
from maskrcnn_trainer.export.detections_graph import emit_detections
from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.export.proposals_graph import emit_proposals
from maskrcnn_trainer.export.roi_align_graph import emit_roi_align, emit_sheet
from maskrcnn_trainer.model.anchors import anchors_per_level, generate_anchors
from maskrcnn_trainer.model.architecture import LARGEST_TOPK
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.predict import InferenceSettings
from maskrcnn_trainer.spec import ExperimentSpec

log = logging.getLogger(__name__)

SAFE_TOPK = 1024
"""The limit that the operator table of TensorRT 8.6 states."""


def export_graph(
    network: MaskRCNN, spec: ExperimentSpec, class_map: ClassMap, *, preprocessing: bool = False, step: int = 0
) -> onnx.ModelProto:
    """Return the network in float32 for batches of any size, with folded batch norms.

    Input ``Input`` float32 [N, 3, H, W], RGB, normalized. Outputs ``generate_detections`` float32 [N, D, 6] (y1, x1,
    y2, x2 in input pixels, class as model id, score; missing detections are zeros) and ``mask_fcn_logits/BiasAdd``
    float32 [N, D, K, m, m], logits of every class within the box.

    Args:
        network: network with its trained weights.
        spec: size of the input, and settings for inference.
        class_map: class map for the metadata.
        preprocessing: normalize in the graph, whose input is then pixels of 0..255; padding must have the mean color
            (mean * 255), as in training.
        step: training step for the metadata.

    Raises:
        InvalidInput: there are more candidates than TensorRT can sort.
    """
    architecture = network.architecture
    settings = InferenceSettings.from_spec(spec, architecture)
    image_size = (int(spec.data_config.image_size[0]), int(spec.data_config.image_size[1]))
    level_sizes = anchors_per_level(architecture, image_size)
    check_topk(settings, level_sizes, num_classes=architecture.num_classes)

    g = GraphBuilder()
    images = Emitted(_preprocessed(g) if preprocessing else INPUT, (3, *image_size))
    extractor = network.feature_extractor
    levels = architecture.levels
    layers = LayerEmitter(g, {extractor.inputs[0]: images}, lambda layer, call: f"{layer}_p{levels[call]}")
    maps = {level: layers.emit(extractor.output[f"p{level}"]) for level in levels}
    per_level = {name: [layers.emit(extractor.get_layer(f"{name}_{level}").output).name for level in levels]
                 for name in ("rpn_logits", "rpn_deltas")}  # fmt: skip
    proposals = emit_proposals(
        g,
        per_level["rpn_logits"],
        per_level["rpn_deltas"],
        anchors=generate_anchors(architecture, image_size),
        level_sizes=level_sizes,
        image_size=image_size,
        settings=settings,
        least_side=architecture.least_proposal_side,
        clip_small_deltas=architecture.clip_small_deltas,
        rank_by_sigmoid=architecture.rank_by_sigmoid,
    )
    pooled_levels = {level: maps[level] for level in levels if level <= architecture.highest_roi_level}
    sheet = emit_sheet(g, pooled_levels, aligned=architecture.roi_aligned)
    roi_align = partial(emit_roi_align, g, sheet, sampling_ratio=architecture.roi_sampling_ratio)
    channels = maps[architecture.min_level].shape[0]
    side = architecture.mrcnn_resolution

    pooled = roi_align(proposals.boxes, proposals.per_image, side // 4, scope="box_rois")
    logits, deltas = _head(g, network.box_head, pooled.name, (channels, side // 4, side // 4))
    found = emit_detections(
        g,
        logits,
        deltas,
        proposals,
        num_classes=architecture.num_classes,
        image_size=image_size,
        bbox_reg_weights=architecture.bbox_reg_weights,
        settings=settings,
        name=DETECTIONS,
        least_side=architecture.least_detection_side,
        clip_small_deltas=architecture.clip_small_deltas,
    )
    requested = settings.detections_per_image
    pooled = roi_align(found.boxes, requested, side // 2, scope="mask_rois")
    (masks,) = _head(g, network.mask_head, pooled.name, (channels, side // 2, side // 2))
    with g.scope("masks"):
        g.reshape(masks, -1, requested, architecture.num_classes, side, side, name=MASK_LOGITS)

    metadata = ExportMetadata(
        architecture=architecture,
        class_map=class_map,
        image_size=image_size,
        data_type="fp32",
        detections_per_image=requested,
        step=step,
        preprocessing=preprocessing,
    )
    return g.model(
        "mask_rcnn",
        {INPUT: ("N", 3, *image_size)},
        {DETECTIONS: ("N", requested, 6), MASK_LOGITS: ("N", requested, architecture.num_classes, side, side)},
        {METADATA_KEY: json.dumps(metadata.to_json())},
    )


def check_topk(settings: InferenceSettings, level_sizes: dict[int, int], *, num_classes: int) -> None:
    """Check that TensorRT can sort the number of candidates in the settings; warn if only some releases can.

    Raises:
        InvalidInput: a field's value is too large.
    """
    longest = min(settings.pre_nms_topn, max(level_sizes.values()))
    proposals = min(settings.post_nms_topn, len(level_sizes) * longest)
    candidates = settings.candidates(proposals, num_classes - 1)
    for field, number in (
        ("testRpnPreNmsTopn", longest),
        ("testRpnPostNmsTopn", proposals),
        ("testCandidateLimit", candidates),
    ):
        if number > LARGEST_TOPK:
            if field == "testCandidateLimit" and settings.candidate_limit is None:
                raise InvalidInput(
                    f"maskrcnnConfig.{field} is absent, so all {number} pairs of box and class would enter a TopK; "
                    f"TensorRT allows at most {LARGEST_TOPK}: set it to at most that"
                )
            raise InvalidInput(
                f"maskrcnnConfig.{field}: the graph needs a TopK of {number}; TensorRT allows at most {LARGEST_TOPK}. "
                "Export with a smaller value (it may differ from the one in training)"
            )
        if number > SAFE_TOPK:
            log.warning(
                "maskrcnnConfig.%s: the graph needs a TopK of %d; TensorRT 10 allows %d, TensorRT 8.6 documents %d",
                field, number, LARGEST_TOPK, SAFE_TOPK,
            )  # fmt: skip


def check_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Check a model with ONNX's checker and shape inference; return it.

    Raises:
        onnx.checker.ValidationError: the graph is invalid.
        onnx.shape_inference.InferenceError: the shapes in the graph are inconsistent.
    """
    onnx.checker.check_model(model, full_check=True)
    return model


def _preprocessed(g: GraphBuilder) -> str:
    """Add nodes that normalize raw images."""
    with g.scope("preprocessing"):
        mean = np.asarray(MEAN, np.float32)[:, None, None] * np.float32(255.0)
        centered = g.op("Sub", INPUT, g.constant(mean))
        return g.op("Mul", centered, g.number(1.0 / (255.0 * STD)))


def _head(g: GraphBuilder, head: Any, pooled: str, shape: tuple[int, int, int]) -> tuple[str, ...]:
    layers = LayerEmitter(g, {head.inputs[0]: Emitted(pooled, shape)})
    return tuple(layers.emit(output).name for output in head.outputs)
