"""Description of an exported model in its ONNX metadata."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx

from maskrcnn_trainer.detector.metadata import METADATA_KEY, ExportMetadata


def metadata_of(model: onnx.ModelProto) -> ExportMetadata:
    """Return the description of an exported model."""
    texts = {entry.key: entry.value for entry in model.metadata_props}
    return ExportMetadata.from_json(texts[METADATA_KEY], "the exported model")


def set_data_type(model: onnx.ModelProto, data_type: str) -> None:
    """Set the graph's numeric precision in the metadata: fp32, fp16, or int8."""
    changed = replace(metadata_of(model), data_type=data_type)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(changed.to_json())})
