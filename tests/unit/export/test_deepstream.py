"""DeepStream's configuration and labels."""

from __future__ import annotations

import configparser
from dataclasses import replace

import pytest

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.detector.metadata import ExportMetadata
from maskrcnn_trainer.export.deepstream import labels_text, nvinfer_config
from maskrcnn_trainer.model.architecture import Architecture

METADATA = ExportMetadata(
    architecture=Architecture(num_classes=4),
    class_map=ClassMap((1, 2, 3), ("cat", "", "traffic\nlight"), 4),
    image_size=(832, 1344),
    data_type="int8",
    detections_per_image=100,
)


def _read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",))
    parser.read_string(text)
    return parser


def test_configuration() -> None:
    text = nvinfer_config(METADATA, onnx_file="model.onnx", calibration_cache="../cal.bin", max_batch_size=8)
    properties = dict(_read(text)["property"])
    assert properties["onnx-file"] == "model.onnx"
    assert properties["int8-calib-file"] == "../cal.bin"
    assert properties["offsets"] == "123.675;116.28;103.53"
    assert float(properties["net-scale-factor"]) == pytest.approx(1 / (255 * 0.224), rel=1e-8)
    assert properties["infer-dims"] == "3;832;1344"
    assert properties["num-detected-classes"] == "4"
    assert properties["network-mode"] == "1"
    assert properties["batch-size"] == "8"
    assert properties["segmentation-threshold"] == "0.0"
    assert properties["maintain-aspect-ratio"] == "1"
    assert properties["symmetric-padding"] == "0"
    assert properties["cluster-mode"] == "4"
    assert properties["output-instance-mask"] == "1"
    assert properties["parse-bbox-instance-mask-func-name"] == "NvDsInferParseCustomMrcnnTLTV2"
    assert properties["output-blob-names"] == "generate_detections;mask_fcn_logits/BiasAdd"
    assert "model-engine-file" not in properties


def test_graph_that_normalizes_gets_raw_pixels() -> None:
    text = nvinfer_config(
        replace(METADATA, preprocessing=True, data_type="fp16"),
        onnx_file="m.onnx",
        encrypted_file="m.etlt",
        engine_file="m.engine",
    )
    assert "maskrcnn decrypt -m m.etlt -o m.onnx" in text
    properties = _read(text)["property"]
    assert (properties["net-scale-factor"], properties["offsets"]) == ("1", "0;0;0")
    assert properties["network-mode"] == "2"
    assert properties["model-engine-file"] == "m.engine"
    assert "int8-calib-file" not in properties


def test_a_label_for_every_id() -> None:
    assert labels_text(METADATA.class_map) == "BG\ncat\nunused_2\ntraffic light\n"
