"""Metadata of an exported model: writing and reading."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.detector.constant_model import metadata, spec_fields

from maskrcnn_trainer.detector.metadata import ExportMetadata
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import parse_spec


def test_metadata_is_read_as_it_was_written() -> None:
    written = metadata(preprocessing=True, step=None)
    text = json.dumps(written.to_json())
    assert ExportMetadata.from_json(text, "x") == written
    assert ExportMetadata.from_json(json.loads(text), "x") == written
    content = json.loads(text)
    assert content["imageSize"] == [128, 192]
    assert content["normalisation"] == {"mean": [0.485, 0.456, 0.406], "std": [0.224, 0.224, 0.224]}
    assert content["detectionsPerImage"] == 5
    assert content["classMap"]["ids"] == [2, 5, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "metadata format 2 is not supported; this release reads format 1"),
        ({"imageSize": [64]}, "cannot be read"),
        ({"step": "many"}, "cannot be read"),
        ({"step": -5}, "cannot be read"),
        ({"classMap": {}}, "class map"),
        ({"normalisation": None}, "cannot be read"),
    ],
)
def test_other_metadata_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ExportMetadata.from_json(metadata().to_json() | change, "model.onnx")
    with pytest.raises(InvalidInput, match=r"model\.onnx"):
        ExportMetadata.from_json("no json", "model.onnx")


def test_fields_of_a_spec_that_contradict_the_model_are_named() -> None:
    fields = spec_fields()
    assert metadata().contradictions(parse_spec(fields)) == []
    other: dict[str, Any] = spec_fields(imageSize=[128, 128])
    other["maskrcnnConfig"] |= {"testDetectionsPerImage": 50, "nlayers": 18}
    told = metadata().contradictions(parse_spec(other))
    assert [sentence.partition(":")[0] for sentence in told] == [
        "maskrcnnConfig.nlayers",
        "dataConfig.imageSize",
        "maskrcnnConfig.testDetectionsPerImage",
    ]


def test_absent_number_of_detections_follows_the_model() -> None:
    fields: dict[str, Any] = spec_fields()
    del fields["maskrcnnConfig"]["testDetectionsPerImage"]
    assert metadata().detections_per_image != parse_spec(fields).maskrcnn_config.test_detections_per_image
    assert metadata().contradictions(parse_spec(fields)) == []


@pytest.mark.parametrize("text", ['{"version": 1, "imageSize": [1e400, 1]}', "[" * 100_000, "null", "[]"])
def test_metadata_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="its metadata cannot be read"):
        ExportMetadata.from_json(text, "m.onnx")
