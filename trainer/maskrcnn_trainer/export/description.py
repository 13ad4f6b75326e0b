"""What an exported model says of itself, in its ONNX metadata."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx

from maskrcnn_trainer.detector.metadata import METADATA_KEY, ExportMetadata


def metadata_of(model: onnx.ModelProto) -> ExportMetadata:
    """What an exported model says of itself."""
    texts = {entry.key: entry.value for entry in model.metadata_props}
    return ExportMetadata.from_json(texts[METADATA_KEY], "the exported model")


def set_data_type(model: onnx.ModelProto, data_type: str) -> None:
    """Notes in the metadata what the graph computes in: fp32, fp16 or int8."""
    changed = replace(metadata_of(model), data_type=data_type)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(changed.to_json())})
