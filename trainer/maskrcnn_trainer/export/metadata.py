"""What an exported model says about itself: one JSON object in the ONNX metadata, and beside an engine."""

from __future__ import annotations

import json
from typing import Any

import onnx
from onnx import helper

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.transforms import MEAN, STD
from maskrcnn_trainer.model.architecture import Architecture

METADATA_KEY = "maskrcnn"
METADATA_VERSION = 1


def describe(
    architecture: Architecture,
    class_map: ClassMap,
    *,
    image_size: tuple[int, int],
    preprocessing: bool,
    detections_per_image: int,
    step: int,
    data_type: str = "fp32",
) -> dict[str, Any]:
    """The description of an exported model.

    Args:
        image_size: (height, width) of the input.
        preprocessing: whether the graph normalises, so that raw pixels of 0..255 go in.
        detections_per_image: rows of the result.
        step: training step of the model.
        data_type: fp32, fp16 or int8.
    """
    return {
        "version": METADATA_VERSION,
        "architecture": architecture.to_json(),
        "classMap": class_map.to_json(),
        "imageSize": list(image_size),
        "normalisation": {"mean": list(MEAN), "std": [STD] * 3},
        "preprocessing": preprocessing,
        "dataType": data_type,
        "detectionsPerImage": detections_per_image,
        "step": step,
    }


def description_of(model: onnx.ModelProto) -> dict[str, Any]:
    """The description in a model's metadata.

    Raises:
        KeyError: there is none.
    """
    texts = {entry.key: entry.value for entry in model.metadata_props}
    found: dict[str, Any] = json.loads(texts[METADATA_KEY])
    return found


def set_data_type(model: onnx.ModelProto, data_type: str) -> None:
    """Notes in the metadata what the graph computes in."""
    helper.set_model_props(model, {METADATA_KEY: json.dumps(description_of(model) | {"dataType": data_type})})
