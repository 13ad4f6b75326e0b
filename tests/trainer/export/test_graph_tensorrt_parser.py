"""Exported graphs in the ONNX parser and the builder of TensorRT for RTX, as far as they work without a GPU.

Without a CUDA driver its RoiAlign plugin cannot be made, and it has no kernel for NonMaxSuppression: RoiAlign is cut to
graph inputs for parsing, both for building. Nothing is executed.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from maskrcnn_trainer.export.calibration.cache import cache_text
from maskrcnn_trainer.export.calibration.collect import collect_ranges
from maskrcnn_trainer.export.graph import check_graph, export_graph
from maskrcnn_trainer.export.half import half_precision
from maskrcnn_trainer.export.quantize import calibrated_tensors, quantized

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt_rtx_bindings") is None,
        reason="needs the parser of TensorRT, which `make test-tensorrt` fetches",
    ),
]

# In a separate process: the library ends a process that creates several builders.
SCRIPT = """
import sys
import tensorrt_rtx_libs
import tensorrt_rtx_bindings as tensorrt
from maskrcnn_trainer.export.engine import _network_flags, read_graph

logger = tensorrt.Logger(tensorrt.Logger.ERROR)
builder = tensorrt.Builder(logger)
network = builder.create_network(_network_flags(tensorrt)[0])
read_graph(tensorrt, network, logger, open(sys.argv[1], "rb").read())
for number in range(network.num_outputs):
    print("output", network.get_output(number).name, tuple(network.get_output(number).shape))
names = {network.get_input(number).name for number in range(network.num_inputs)}
for number in range(network.num_layers):
    layer = network.get_layer(number)
    names |= {layer.get_output(place).name for place in range(layer.num_outputs)}
for name in names:
    print("tensor", name)
if sys.argv[2] == "build":
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, 1 << 30)
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        given = network.get_input(number)
        rows = 1 if given.name == "Input" else {rows}
        profile.set_shape(given.name, *((rows * images, *tuple(given.shape)[1:]) for images in (1, 2, 4)))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    print("built", len(bytes(plan)))
""".replace("{rows}", "60")


def _cut(model: onnx.ModelProto, *operators: str) -> onnx.ModelProto:
    """Return the graph with these operators replaced by inputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    kept = []
    for node in result.graph.node:
        if node.op_type not in operators:
            kept.append(node)
            continue
        if node.op_type == "RoiAlign":
            sides = {attribute.name: attribute.i for attribute in node.attribute}
            shape = [f"rows of {node.name}", 256, sides["output_height"], sides["output_width"]]
            kind = onnx.TensorProto.FLOAT
        else:
            shape, kind = [f"selected by {node.name}", 3], onnx.TensorProto.INT64
        result.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], kind, shape))
    del result.graph.node[:]
    result.graph.node.extend(kept)
    return result


def _run(model: onnx.ModelProto, tmp_path: Path, action: str) -> list[list[str]]:
    path = tmp_path / "cut.onnx"
    path.write_bytes(model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), action], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return [line.split(" ", 2) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def models(build: Callable[..., Any]) -> dict[str, Any]:
    network, spec, class_map = build((128, 128), 4, testRpnPostNmsTopn=60, testDetectionsPerImage=60)
    model = check_graph(export_graph(network, spec, class_map))
    images = np.random.default_rng(0).normal(size=(1, 3, 128, 128)).astype(np.float32)
    ranges = collect_ranges(model, calibrated_tensors(model), [images], images=1, threads=2)
    return {"fp32": model, "fp16": half_precision(model), "int8": quantized(model, ranges), "cache": cache_text(ranges)}


@pytest.mark.parametrize("data_type", ["fp32", "fp16", "int8"])
def test_parsed_and_built(models: dict[str, Any], data_type: str, tmp_path: Path) -> None:
    parsed = _run(_cut(models[data_type], "RoiAlign"), tmp_path, "parse")
    outputs = {name: shape for kind, name, *rest in parsed if kind == "output" for shape in rest}
    assert outputs == {"generate_detections": "(-1, 60, 6)", "mask_fcn_logits/BiasAdd": "(-1, 60, 4, 16, 16)"}
    if data_type == "fp32":
        tensors = {" ".join(rest) for kind, *rest in parsed if kind == "tensor"}
        assert {line.partition(":")[0] for line in models["cache"].splitlines()[1:]} <= tensors
    built = _run(_cut(models[data_type], "RoiAlign", "NonMaxSuppression"), tmp_path, "build")
    assert int(built[-1][1]) > 1_000_000


@pytest.mark.parametrize("pooling", [{"roi_sampling_ratio": 0}, {"roi_aligned": False}])
def test_settings_of_other_projects_are_parsed_and_built(
    build: Callable[..., Any], pooling: dict[str, Any], tmp_path: Path
) -> None:
    settings = pooling | {
        "anchor_offset": 0.0,
        "anchor_rounding": "corners",
        "roi_max_level": 5,
        "batch_norm_epsilon": 0.0,
        "clip_small_deltas": True,
        "rank_by_sigmoid": True,
        "least_proposal_side": 1e-3,
        "least_detection_side": 1e-2,
    }
    of_spec = {"arch": "resnet_v1", "nlayers": 50, "testRpnPostNmsTopn": 60, "testDetectionsPerImage": 60}
    model = check_graph(export_graph(*build((128, 128), 4, settings=settings, **of_spec)))
    parsed = _run(_cut(model, "RoiAlign"), tmp_path, "parse")
    outputs = {name: shape for kind, name, *rest in parsed if kind == "output" for shape in rest}
    assert outputs == {"generate_detections": "(-1, 60, 6)", "mask_fcn_logits/BiasAdd": "(-1, 60, 4, 16, 16)"}
    built = _run(_cut(model, "RoiAlign", "NonMaxSuppression"), tmp_path, "build")
    assert int(built[-1][1]) > 1_000_000
