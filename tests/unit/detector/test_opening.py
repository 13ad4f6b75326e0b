"""ONNX files and engines as detectors: recognition by content, conversion of outputs, and refusals."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from tests.unit.detector.constant_model import (
    ARCHITECTURE,
    CLASS_MAP,
    IMAGE_SIZE,
    ROWS,
    SIDE,
    mask_logits,
    metadata,
    model_bytes,
    spec_fields,
)

from maskrcnn_trainer.detector import Detector, open_detector, tensorrt_engine
from maskrcnn_trainer.detector.cuda_driver import CudaDevice
from maskrcnn_trainer.detector.opening import ModelKind, kind_of
from maskrcnn_trainer.detector.outputs import graph_detections, graph_input
from maskrcnn_trainer.errors import InvalidInput, TaskError
from maskrcnn_trainer.model_files.model_file import encrypt
from maskrcnn_trainer.spec import ExperimentSpec, parse_spec


@pytest.fixture(name="spec")
def _spec() -> ExperimentSpec:
    return parse_spec(spec_fields())


REAL = ROWS[ROWS[:, 5] > 0]


def half_masks() -> np.ndarray:
    """Return the masks of the constant model: the left half of every box."""
    masks = np.full((len(REAL), SIDE, SIDE), 20.0, np.float32)
    masks[..., SIDE // 2 :] = -20.0
    return masks


def check_constant(detector: Detector, images: np.ndarray, scores: list[float]) -> None:
    """Check the detections of the constant model, without the row that pads the graph's result."""
    for found, score in zip(detector.detect(images), scores, strict=True):
        np.testing.assert_array_equal(found.boxes, REAL[:, :4])
        np.testing.assert_array_equal(found.classes, [2, 1, 3, 1])
        np.testing.assert_allclose(found.scores, [score, *REAL[1:, 5]], rtol=0, atol=5e-5)
        np.testing.assert_array_equal(found.mask_logits, half_masks())
        parts = (found.boxes, found.classes, found.scores, found.mask_logits)
        assert [part.dtype for part in parts] == [np.float32, np.int32, np.float32, np.float32]


def test_an_onnx_model_takes_batches_of_any_size(tmp_path: Path, spec: ExperimentSpec) -> None:
    path = tmp_path / "whatever.bin"
    path.write_bytes(model_bytes(metadata()))
    detector = open_detector(path, spec, threads=1)
    assert detector.class_map == CLASS_MAP
    assert detector.architecture == ARCHITECTURE
    assert (detector.image_size, detector.batch_size, detector.detections_per_image, detector.step) == (
        IMAGE_SIZE,
        2,
        5,
        7,
    )
    assert open_detector(path, spec, threads=1, batch_size=5).batch_size == 5
    images = np.zeros((3, *IMAGE_SIZE, 3), np.float32)
    images[1] = 2.0
    check_constant(detector, images, [0.9, 0.902, 0.9])


def test_graph_that_normalizes_gets_values_of_0_to_255(tmp_path: Path, spec: ExperimentSpec) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(metadata(preprocessing=True)))
    images = np.zeros((2, *IMAGE_SIZE, 3), np.float32)
    raw = np.array([10.0, 100.0, 250.0])
    images[1] = (raw / 255.0 - np.array([0.485, 0.456, 0.406])) / 0.224
    padding = 255 * (0.485 + 0.456 + 0.406) / 3
    check_constant(open_detector(path, spec, threads=1), images, [0.9 + padding / 1000, 0.9 + float(raw.mean()) / 1000])
    planes = graph_input(images, metadata(preprocessing=True))
    np.testing.assert_allclose(planes[1, :, 3, 4], raw, rtol=1e-5)
    assert planes.flags.c_contiguous
    assert planes.shape == (2, 3, *IMAGE_SIZE)


def test_the_mask_of_the_detected_class_is_taken() -> None:
    rng = np.random.default_rng(0)
    masks = rng.normal(size=(2, 3, 4, SIDE, SIDE)).astype(np.float32)
    rows = np.zeros((2, 3, 6), np.float32)
    rows[..., 4] = [[3, 2, 1], [2, 1, 1]]
    rows[..., 5] = 0.5
    for image, found in enumerate(graph_detections(rows, masks, "m.onnx")):
        for row in range(3):
            np.testing.assert_array_equal(found.mask_logits[row], masks[image, row, int(rows[image, row, 4])])


def test_rows_without_a_score_are_not_detections() -> None:
    rows = np.zeros((2, 3, 6), np.float32)
    rows[0, :, 5] = [0.5, np.nan, 0.0]
    found = graph_detections(rows, np.zeros((2, 3, 4, SIDE, SIDE), np.float32), "m.onnx")
    assert [one.scores.tolist() for one in found] == [[0.5], []]
    assert [one.mask_logits.shape for one in found] == [(1, SIDE, SIDE), (0, SIDE, SIDE)]


def test_encrypted_model_needs_its_key(tmp_path: Path, spec: ExperimentSpec) -> None:
    path = tmp_path / "model.etlt"
    path.write_bytes(encrypt(model_bytes(metadata()), "secret"))
    check_constant(open_detector(path, spec, key="secret", threads=1), np.zeros((1, *IMAGE_SIZE, 3), np.float32), [0.9])
    with pytest.raises(InvalidInput, match="give its key with -k") as missing:
        open_detector(path, spec, threads=1)
    with pytest.raises(InvalidInput, match="does not open") as wrong:
        open_detector(path, spec, key="other", threads=1)
    assert missing.value.reason == wrong.value.reason == "WrongKey"


def test_file_that_is_not_a_model_of_this_trainer_is_refused(tmp_path: Path, spec: ExperimentSpec) -> None:
    path = tmp_path / "model"
    for content, message in [
        (b"", "not a model that can detect"),
        (b"hello", "not a model that can detect"),
        (b"\x08\x07 not a graph", "ONNX Runtime cannot open it"),
        (model_bytes(None), "not one that maskrcnn export wrote"),
        (b"PK\x03\x04", "not a model file, or damaged"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=message) as refusal:
            open_detector(path, spec, threads=1)
        assert str(path) in str(refusal.value)
    with pytest.raises(InvalidInput, match="no such model file"):
        open_detector(tmp_path / "nothing", spec, threads=1)
    with pytest.raises(InvalidInput, match="a directory; give the model file itself"):
        open_detector(tmp_path, spec, threads=1)


def _opset(model: onnx.ModelProto, version: int) -> None:
    model.opset_import[0].version = version


def _ir_version(model: onnx.ModelProto, version: int) -> None:
    model.ir_version = version


def _operator(model: onnx.ModelProto, name: str) -> None:
    model.graph.node[0].op_type = name


def _input(model: onnx.ModelProto, name: str) -> None:
    model.graph.node[0].input[0] = name


@pytest.mark.parametrize(
    ("change", "value", "fault"),
    [
        (_opset, 99, r"opset_import is 99, but this ONNX Runtime \([\d.]+\) reads up to \d+, and export writes 17"),
        (_opset, 6, "its nodes do not match opset_import 6; export writes 17"),
        (_opset, 0, "its nodes do not match opset_import 0; export writes 17"),
        (_ir_version, 99, r"ir_version is 99, but this ONNX Runtime \([\d.]+\) reads up to \d+"),
        (_operator, "Bogus", "there is no operator Bogus in opset 17"),
        (_operator, "Unsqueeze", "a node of type Unsqueeze does not match the definition of its operator"),
        (_input, "nothing", "its graph is not valid"),
    ],
)
def test_graph_that_onnx_runtime_refuses_is_explained(
    tmp_path: Path, spec: ExperimentSpec, change: Callable[[onnx.ModelProto, Any], None], value: object, fault: str
) -> None:
    model = onnx.load_from_string(model_bytes(metadata()))
    change(model, value)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInput) as refused:
        open_detector(tmp_path / "model.onnx", spec, threads=1)
    sentence = (
        f"{re.escape(str(tmp_path))}/model.onnx: ONNX Runtime cannot open it: {fault}; use the file that export wr"
    )
    assert re.match(sentence, str(refused.value))


def _size(model: onnx.ModelProto, size: int) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = size


def _metadata(model: onnx.ModelProto, change: dict[str, Any]) -> None:
    described = json.loads(model.metadata_props[0].value)
    model.metadata_props[0].value = json.dumps(described | change)


@pytest.mark.parametrize(
    ("change", "value", "fault"),
    [
        (_size, 64, "Input is [3, 64, 192] for each image in the graph, but [3, 128, 192] in its metadata"),
        (
            _metadata, {"detectionsPerImage": 7},
            "generate_detections is [5, 6] for each image in the graph, but [7, 6] in its metadata",
        ),
        (
            _metadata, {"classMap": {"ids": [1], "names": ["x"], "numClasses": 2}},
            "class map: 2 classes, but the network has 4",
        ),
        (_metadata, {"classMap": {"ids": [1], "names": [], "numClasses": 2}}, "class map: 1 ids, 0 names and 2"),
        (_metadata, {"architecture": [1]}, "architecture: [1] is not an object"),
        (_metadata, {"normalisation": {"mean": [1, 2], "std": [1, 1, 1]}}, "its metadata cannot be read (it, or a"),
        (_metadata, {"normalisation": {"mean": [1, 2, 3]}}, "its metadata cannot be read (no field 'std')"),
    ],
)  # fmt: skip
def test_metadata_that_does_not_match_its_graph_is_refused_by_file(
    tmp_path: Path, spec: ExperimentSpec, change: Callable[[onnx.ModelProto, Any], None], value: object, fault: str
) -> None:
    model = onnx.load_from_string(model_bytes(metadata()))
    change(model, value)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInput) as refused:
        open_detector(tmp_path / "model.onnx", spec, threads=1)
    assert str(refused.value).startswith(f"{tmp_path}/model.onnx: {fault}")


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        (slice(None), np.nan, "no detection of the network is finite"),
        (4, 77, "the network detects class 77, but has classes 1 to 3"),
    ],
)
def test_results_that_are_not_finite_or_of_an_unknown_class_are_refused(
    column: int | slice, value: float, fault: str
) -> None:
    rows = np.zeros((1, 5, 6), np.float32)
    rows[..., column] = value
    with pytest.raises(InvalidInput, match=f"m.onnx: {fault}"):
        graph_detections(rows, np.zeros((1, 5, 4, 8, 8), np.float32), "m.onnx")


def test_out_of_memory_is_not_reported_as_a_fault_of_the_model(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 268435456")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    with pytest.raises(RuntimeError, match="Failed to allocate memory"):
        open_detector(tmp_path / "model.onnx", spec, threads=1)


def test_failed_gpu_is_not_reported_as_a_fault_of_the_model(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("CUDA failure 214: uncorrectable ECC error encountered ; GPU=0 ; hostname=node")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    with pytest.raises(RuntimeError, match="uncorrectable ECC"):
        open_detector(tmp_path / "model.onnx", spec, threads=1)


def test_an_onnx_model_does_not_fall_back_to_the_cpu_when_a_gpu_is_requested(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("MASKRCNN_FINGERPRINT", "f")
    monkeypatch.setenv("MASKRCNN_GPUS", "1")
    with pytest.raises(InvalidInput, match=r"gpusPerNode 1: ONNX Runtime [\d.]+ finds no GPU") as refused:
        open_detector(tmp_path / "model.onnx", spec, threads=1)
    assert refused.value.reason == "MissingDevice"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    open_detector(tmp_path / "model.onnx", spec, threads=1)


def test_a_spec_that_contradicts_the_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(metadata()))
    with pytest.raises(InvalidInput, match=r"dataConfig\.imageSize: \[128, 128\] in the spec"):
        open_detector(path, parse_spec(spec_fields(imageSize=[128, 128])), threads=1)
    given: dict[str, Any] = spec_fields()
    given["maskrcnnConfig"] |= {"nlayers": 18, "roiAligned": False}
    with pytest.raises(InvalidInput) as refused:
        open_detector(path, parse_spec(given), threads=1)
    assert str(refused.value).startswith(f"{path} does not match the spec: maskrcnnConfig.nlayers: 18 in the spec")
    assert "maskrcnnConfig.roiAligned: false in the spec, but the model was built with true" in str(refused.value)
    assert "remove maskrcnnConfig.nlayers and maskrcnnConfig.roiAligned from the spec" in str(refused.value)


def test_absent_fields_follow_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(metadata()))
    detector = open_detector(path, parse_spec(spec_fields() | {"maskrcnnConfig": {}}), threads=1)
    assert detector.detections_per_image == len(ROWS)
    assert detector.architecture == ARCHITECTURE


def test_no_tensorflow_is_loaded_for_an_onnx_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    program = (
        "import json, sys; from maskrcnn_trainer.detector import open_detector;"
        "from maskrcnn_trainer.spec import parse_spec;"
        f"spec = parse_spec(json.loads({json.dumps(spec_fields())!r}));"
        f"open_detector({str(tmp_path / 'model.onnx')!r}, spec, threads=1);"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_kinds_are_recognized_by_content(tmp_path: Path) -> None:
    assert kind_of(model_bytes(metadata()), tmp_path / "model.tlt") is ModelKind.ONNX
    assert kind_of(b"PK\x03\x04", tmp_path / "model.onnx") is ModelKind.TLT
    assert kind_of(b"ftrt....", tmp_path / "model.onnx") is ModelKind.ENGINE
    (tmp_path / "model.engine.json").write_text("{}")
    assert kind_of(b"\x99\x98", tmp_path / "model.engine") is ModelKind.ENGINE


def test_engine_reports_what_is_missing(tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"ftrt and more")
    with pytest.raises(InvalidInput, match=r"needs model\.engine\.json in the same directory"):
        open_detector(path, spec, threads=1)
    (tmp_path / "model.engine.json").write_text(json.dumps(metadata().to_json()))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InvalidInput, match="tensorrt, which is not installed here .*built with the argument TENSORRT"):
        open_detector(path, spec, threads=1)
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace())
    monkeypatch.setattr("maskrcnn_trainer.detector.cuda_driver.LIBRARY", "libnothere.so")
    with pytest.raises(InvalidInput, match="runs on an NVIDIA GPU") as refusal:
        open_detector(path, spec, threads=1)
    assert refusal.value.reason == "MissingDevice"


@pytest.mark.parametrize(
    ("code", "name", "exit_code", "reason"),
    [
        (2, b"CUDA_ERROR_OUT_OF_MEMORY", 64, "OutOfMemory"),
        (214, b"CUDA_ERROR_ECC_UNCORRECTABLE", 75, "DeviceFailed"),
        (700, b"CUDA_ERROR_ILLEGAL_ADDRESS", 1, "CudaFailed"),
        (12345, b"", 1, "CudaFailed"),
    ],
)
def test_error_of_the_driver_has_the_exit_code_of_its_cause(
    monkeypatch: pytest.MonkeyPatch, code: int, name: bytes, exit_code: int, reason: str
) -> None:
    def name_of(_code: int, found: Any) -> int:
        found._obj.value = name
        return int(not name)

    def succeed(*_arguments: object) -> int:
        return 0

    names = ("cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuStreamCreate")
    library = SimpleNamespace(
        **dict.fromkeys(names, succeed), cuMemAlloc_v2=lambda *_arguments: code, cuGetErrorName=name_of
    )
    monkeypatch.setattr("ctypes.CDLL", lambda _name: library)
    with pytest.raises(TaskError) as told:
        CudaDevice().allocate(8)
    assert (told.value.exit_code, told.value.reason) == (exit_code, reason)


class _Memory:
    """Device memory as arrays by address."""

    stream = 5

    def __init__(self) -> None:
        self.content: dict[int, Any] = {}

    def make_current(self) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def allocate(self, size: int) -> int:
        self.content[len(self.content) + 1] = size
        return len(self.content)

    def upload(self, address: int, values: np.ndarray) -> None:
        assert values.nbytes <= self.content[address] if isinstance(self.content[address], int) else True
        self.content[address] = values.copy()

    def download(self, address: int, values: np.ndarray) -> None:
        values[...] = self.content[address]


def fake_tensorrt(memory: _Memory, *, runs: bool = True, opens: bool = True) -> Any:
    """Return a stand-in for the used part of TensorRT's interface, with the constant model as the engine."""
    addresses: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def execute(stream: int) -> bool:
        assert stream == memory.stream
        images = memory.content[addresses["Input"]]
        assert images.shape == shapes["Input"]
        memory.content[addresses["generate_detections"]] = np.tile(ROWS, (len(images), 1, 1))
        memory.content[addresses["mask_fcn_logits/BiasAdd"]] = np.tile(mask_logits(), (len(images), 1, 1, 1, 1))
        return runs

    context = SimpleNamespace(
        set_tensor_address=addresses.__setitem__, set_input_shape=shapes.__setitem__, execute_async_v3=execute
    )
    engine = SimpleNamespace(
        get_tensor_profile_shape=lambda name, profile: ((1, 3, *IMAGE_SIZE), (1, 3, *IMAGE_SIZE), (2, 3, *IMAGE_SIZE)),
        get_tensor_dtype=lambda name: "float32",
        create_execution_context=lambda: context,
    )

    def logger(severity: int) -> None:
        return None

    logger.ERROR = 1  # type: ignore[attr-defined]
    return SimpleNamespace(
        __version__="10.0",
        float32="float32",
        Logger=logger,
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda payload: engine if opens else None),
        init_libnvinfer_plugins=lambda logger, namespace: True,
    )


def test_an_engine_runs_at_most_its_largest_batch(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"ftrt and more")
    (tmp_path / "model.engine.json").write_text(json.dumps(metadata().to_json()))
    memory = _Memory()
    monkeypatch.setattr(tensorrt_engine, "CudaDevice", lambda: memory)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(memory))
    detector = open_detector(path, spec, threads=1, batch_size=8)
    assert detector.batch_size == 2
    check_constant(detector, np.zeros((2, *IMAGE_SIZE, 3), np.float32), [0.9, 0.9])
    check_constant(detector, np.zeros((1, *IMAGE_SIZE, 3), np.float32), [0.9])
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(memory, runs=False))
    with pytest.raises(TaskError, match="could not run the engine"):
        open_detector(path, spec, threads=1).detect(np.zeros((1, *IMAGE_SIZE, 3), np.float32))
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(memory, opens=False))
    with pytest.raises(InvalidInput, match=r"TensorRT 10\.0 cannot load this engine"):
        open_detector(path, spec, threads=1)


def test_a_release_without_init_libnvinfer_plugins_opens_an_engine(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"ftrt and more")
    (tmp_path / "model.engine.json").write_text(json.dumps(metadata().to_json()))
    memory = _Memory()
    later = fake_tensorrt(memory)
    del later.init_libnvinfer_plugins
    monkeypatch.setattr(tensorrt_engine, "CudaDevice", lambda: memory)
    monkeypatch.setitem(sys.modules, "tensorrt", later)
    assert open_detector(path, spec, threads=1).batch_size == 2


def test_metadata_that_is_not_text_is_refused(tmp_path: Path, spec: ExperimentSpec) -> None:
    (tmp_path / "m.onnx").write_bytes(model_bytes(metadata()).replace(b'"dataType"', b'"data\xffype"'))
    with pytest.raises(InvalidInput, match="its metadata cannot be read"):
        open_detector(tmp_path / "m.onnx", spec, threads=1)
