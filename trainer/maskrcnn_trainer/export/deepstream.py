"""Configuration for DeepStream's ``nvinfer`` element, and the labels that it shows.

The keys are described in "Gst-nvinfer file configuration specifications" of the DeepStream developer guide. Its parser
for Mask R-CNN reads the outputs ``generate_detections`` (boxes in input pixels) and ``mask_fcn_logits/BiasAdd``.
"""

from __future__ import annotations

from collections.abc import Mapping

from maskrcnn_trainer.data.class_map import BACKGROUND_LABEL, ClassMap
from maskrcnn_trainer.detector.metadata import ExportMetadata
from maskrcnn_trainer.detector.outputs import DETECTIONS, MASK_LOGITS
from maskrcnn_trainer.spec.task_table import DEEPSTREAM_LABELS_FILE

PARSER = "NvDsInferParseCustomMrcnnTLTV2"
PARSER_LIBRARY = "/opt/nvidia/deepstream/deepstream/lib/libnvds_infercustomparser.so"
"""Path of the parser in DeepStream's packages."""

NETWORK_MODES: Mapping[str, int] = {"fp32": 0, "int8": 1, "fp16": 2}


def labels_text(class_map: ClassMap) -> str:
    """Return one line per model id, background first; an id without a category gets a placeholder."""
    names = (name.strip() or f"unused_{model_id}" for model_id, name in enumerate(class_map.names, start=1))
    return "".join(f"{' '.join(name.split())}\n" for name in (BACKGROUND_LABEL, *names))


def nvinfer_config(
    metadata: ExportMetadata,
    *,
    onnx_file: str,
    encrypted_file: str | None = None,
    calibration_cache: str | None = None,
    engine_file: str | None = None,
    max_batch_size: int = 1,
) -> str:
    """Return the text of ``nvinfer_config.txt``.

    Args:
        metadata: metadata of the exported model.
        onnx_file: name of the plain model, which DeepStream reads.
        encrypted_file: name of the encrypted model to decrypt into ``onnx_file``, if the model was encrypted.
        calibration_cache: name of the INT8 calibration cache, if any.
        engine_file: name of the TensorRT engine, if one was built.
        max_batch_size: maximum frames per batch.
    """
    height, width = metadata.image_size
    if metadata.preprocessing:
        scale, offsets = 1.0, [0.0, 0.0, 0.0]
    else:
        # nvinfer computes scale * (pixel - offset), with a single scale for all three channels.
        scale = 1.0 / (255.0 * metadata.std[0])
        offsets = [255.0 * mean for mean in metadata.mean]
    head = []
    if encrypted_file is not None:
        head.append(f"# DeepStream reads the plain model: maskrcnn decrypt -m {encrypted_file} -o {onnx_file}")
    head += [
        "# nvinfer pads frames with black, training with the mean color: detections near the padding can differ.",
        "[property]",
        "gpu-id=0",
    ]
    entries: list[tuple[str, object]] = [
        ("net-scale-factor", f"{scale:.9g}"),
        ("offsets", ";".join(f"{offset:.6g}" for offset in offsets)),
        ("onnx-file", onnx_file),
    ]
    if engine_file is not None:
        entries.append(("model-engine-file", engine_file))
    if calibration_cache is not None:
        entries.append(("int8-calib-file", calibration_cache))
    entries += [
        ("labelfile-path", DEEPSTREAM_LABELS_FILE),
        ("infer-dims", f"3;{height};{width}"),
        ("batch-size", max_batch_size),
        ("network-mode", NETWORK_MODES[metadata.data_type]),
        ("model-color-format", 0),
        ("maintain-aspect-ratio", 1),
        ("symmetric-padding", 0),
        ("network-type", 3),
        ("num-detected-classes", metadata.architecture.num_classes),
        ("cluster-mode", 4),
        ("output-instance-mask", 1),
        ("segmentation-threshold", "0.0"),
        ("output-blob-names", f"{DETECTIONS};{MASK_LOGITS}"),
        ("parse-bbox-instance-mask-func-name", PARSER),
        ("custom-lib-path", PARSER_LIBRARY),
    ]
    tail = ["", "[class-attrs-all]", "pre-cluster-threshold=0.5"]
    return "\n".join([*head, *(f"{key}={value}" for key, value in entries), *tail]) + "\n"
