"""ONNX file with the inputs, outputs, and metadata of an exported model, which detects the same objects everywhere."""

from __future__ import annotations

import json

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.detector.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_trainer.model.architecture import Architecture

SIDE = 8
IMAGE_SIZE = (128, 192)
ARCHITECTURE = Architecture(nlayers=10, num_classes=4, mrcnn_resolution=SIDE)
CLASS_MAP = ClassMap(ids=(2, 5, 9), names=("cat", "", "dog house"), num_classes=4)
ROWS = np.array(
    [
        [8, 16, 40, 64, 2, 0.9],
        [0, 0, 20, 20, 1, 0.7],
        [30, 30, 60, 90, 3, 0.6],
        [10, 10, 20, 20, 1, 0.25],
        [0, 0, 0, 0, 0, 0],
    ],
    np.float32,
)
"""y1, x1, y2, x2, class, score."""


def mask_logits() -> NDArray[np.float32]:
    """Return [D, C, m, m]: the detected class's mask is the left half of the box, the others are the whole box."""
    logits = np.full((len(ROWS), ARCHITECTURE.num_classes, SIDE, SIDE), 20.0, np.float32)
    for row, detection in enumerate(ROWS):
        logits[row, int(detection[4]), :, SIDE // 2 :] = -20.0
    return logits


def metadata(*, preprocessing: bool = False, step: int | None = 7) -> ExportMetadata:
    return ExportMetadata(
        architecture=ARCHITECTURE,
        class_map=CLASS_MAP,
        image_size=IMAGE_SIZE,
        data_type="fp32",
        detections_per_image=len(ROWS),
        step=step,
        preprocessing=preprocessing,
    )


def model_bytes(described: ExportMetadata | None) -> bytes:
    """Return the content of the file, without metadata if ``described`` is None.

    A thousandth of the input's mean, if it is above 0, is added to the score of the first detection, so that a test can
    check the input.
    """
    rows = numpy_helper.from_array(ROWS[None], "rows")
    masks = numpy_helper.from_array(mask_logits()[None], "masks")
    nodes = [
        helper.make_node("ReduceMean", ["Input"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "two"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "rows"], ["found"]),
        helper.make_node("Relu", ["column"], ["positive"]),
        helper.make_node("Mul", ["positive", "first_score"], ["extra"]),
        helper.make_node("Add", ["found", "extra"], ["generate_detections"]),
        helper.make_node("Unsqueeze", ["nothing", "two"], ["deeper"]),
        helper.make_node("Unsqueeze", ["deeper", "two"], ["deepest"]),
        helper.make_node("Add", ["deepest", "masks"], ["mask_fcn_logits/BiasAdd"]),
    ]
    first_score = np.zeros((1, *ROWS.shape), np.float32)
    first_score[0, 0, 5] = 1e-3
    constants = [
        rows,
        masks,
        numpy_helper.from_array(np.array([2], np.int64), "two"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(first_score, "first_score"),
    ]
    shape: list[str | int | None] = ["N", *mask_logits().shape]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("Input", TensorProto.FLOAT, ["N", 3, *IMAGE_SIZE])],
        [
            helper.make_tensor_value_info("generate_detections", TensorProto.FLOAT, ["N", *ROWS.shape]),
            helper.make_tensor_value_info("mask_fcn_logits/BiasAdd", TensorProto.FLOAT, shape),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if described is not None:
        helper.set_model_props(model, {METADATA_KEY: json.dumps(described.to_json())})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def spec_fields(**data_fields: object) -> dict[str, object]:
    """Return an experiment that matches the model, camelCase as in YAML."""
    return {
        "totalSteps": 4,
        "evalBatchSize": 2,
        "initLearningRate": 0.01,
        "dataConfig": {"imageSize": list(IMAGE_SIZE), "numClasses": 4, **data_fields},
        "maskrcnnConfig": {
            "nlayers": 10,
            "mrcnnResolution": SIDE,
            "freezeBn": False,
            "freezeBlocks": [],
            "testDetectionsPerImage": len(ROWS),
        },
    }
