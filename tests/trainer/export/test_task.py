"""The export command: from a model file to all output files."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import tensorflow as tf
import yaml

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.detector import open_detector
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_OK
from maskrcnn_trainer.export.calibration.images import CalibrationSet, directory_batches, record_batches
from maskrcnn_trainer.export.calibration.tensorfile import TensorFile
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, write_model_file
from maskrcnn_trainer.spec import load_spec

pytestmark = pytest.mark.trainer

SIZE = (128, 128)
FINGERPRINT = "a8c47326caeee986b816f946d049d9ad-v1"


def _pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [
        cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (60 + 20 * n, 90), interpolation=cv2.INTER_CUBIC)
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, build: Callable[..., Any]) -> Path:
    """Write a model, its spec, five training records and the same images as files."""
    root = tmp_path_factory.mktemp("export")
    (root / "images" / "below").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(root / "train-00000-of-00001.tfrecord")) as writer:
        for number, picture in enumerate(_pictures(5)):
            png = cv2.imencode(".png", picture)[1].tobytes()
            where = root / "images" / ("below" if number % 2 else ".") / f"{number}.PNG"
            where.write_bytes(png)
            features = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
                "image/source_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(number).encode()])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    (root / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (root / "images" / "notes.txt").write_text("no picture either")

    network, spec, class_map = build(SIZE, 3)
    experiment = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    experiment["dataConfig"]["trainingFilePattern"] = str(root / "train-*.tfrecord")
    (root / "spec.yaml").write_text(yaml.safe_dump(experiment))
    variables = {name: variable.numpy() for name, variable in network.named_variables.items()}
    model = ModelFile(network.architecture.to_json(), experiment, class_map.to_json(), 12, variables)
    write_model_file(root / "model.tlt", model)
    write_model_file(root / "secret.tlt", model, "the key")
    pruned = ModelFile(
        network.architecture.to_json(), experiment, class_map.to_json(), 12, variables, retrain_required=True
    )
    write_model_file(root / "pruned.tlt", pruned)
    return root


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # TensorFlow is initialized in this process, so its number of threads can't be set.
    monkeypatch.setattr("maskrcnn_trainer.export.task.prepare_tensorflow", lambda **_: None)
    for name in ("MASKRCNN_FINGERPRINT", "MASKRCNN_KEY", "MASKRCNN_RESULTS_DIR"):
        monkeypatch.delenv(name, raising=False)


def _export(folder: Path, *flags: object, model: str = "model.tlt") -> int:
    command = ["export", "-e", str(folder / "spec.yaml"), "-m", str(folder / model), *map(str, flags)]
    try:
        return main(command)
    except SystemExit as end:
        return int(end.code or 0)


def test_int8_from_records_with_all_other_files(folder: Path, tmp_path: Path) -> None:
    cache, tensors = tmp_path / "cal.bin", tmp_path / "tensors" / "cal.h5"
    flags = ["--data_type", "int8", "--batches", 2, "--batch_size", 2, "--cal_cache_file", cache]
    assert _export(folder, "-o", tmp_path / "m.onnx", *flags, "--cal_data_file", tensors, "--gen_ds_config") == EXIT_OK
    assert TensorFile(tensors, SIZE).images == 4
    text = (tmp_path / "nvinfer_config.txt").read_text()
    assert "onnx-file=m.onnx" in text
    assert "int8-calib-file=cal.bin" in text
    assert (tmp_path / "labels.txt").read_text() == "BG\nclass 1\nclass 2\n"
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["modelPath"] == str(tmp_path / "m.onnx")
    assert result["artifacts"].keys() == {"model", "calibration_cache", "deepstream_config", "labels"}
    assert result["metrics"]["size"] == (tmp_path / "m.onnx").stat().st_size
    parameters = sum(value.size for value in read_model_file(folder / "model.tlt").variables.values())
    assert result["facts"] == {"parameters": parameters, "dtype": "int8"}
    statuses = [json.loads(line)["status"] for line in (tmp_path / "status.json").read_text().splitlines()]
    assert statuses == ["STARTED", "SUCCESS"]

    # The tensor file gives the same results without any record.
    spec = yaml.safe_load((folder / "spec.yaml").read_text())
    del spec["dataConfig"]["trainingFilePattern"]
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(spec))
    again = tmp_path / "again.bin"
    command = ["export", "-e", tmp_path / "other.yaml", "-m", folder / "model.tlt", "-o", tmp_path / "again.onnx"]
    command += ["--data_type", "int8", "--cal_data_file", tensors, "--cal_cache_file", again]
    assert main([str(one) for one in command]) == EXIT_OK
    assert again.read_text() == cache.read_text()
    # The float32 graph has every tensor of the cache.
    assert _export(folder, "-o", tmp_path / "float.onnx") == EXIT_OK
    graph = onnx.load(tmp_path / "float.onnx").graph
    tensors_of_graph = {"Input"} | {name for node in graph.node for name in node.output}
    assert {line.partition(":")[0] for line in cache.read_text().splitlines()[1:]} <= tensors_of_graph


def test_unreadable_directory_is_a_permission_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(PermissionError):
        directory_batches(folder / "images", CalibrationSet(SIZE, batches=1, batch_size=1, seed=1))


def test_a_directory_gives_the_images_that_the_records_hold(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    selection = CalibrationSet(SIZE, batches=3, batch_size=2, seed=1)
    count, batches = record_batches(str(folder / "train-*.tfrecord"), selection)
    records = np.concatenate(list(batches))
    assert count == len(records) == 5
    assert "has 5 images, fewer than --batches 3 times --batch_size 2 (6); using all of them" in caplog.text
    _, batches = directory_batches(folder / "images", selection)
    files = np.concatenate(list(batches))
    assert any("broken.jpg: " in line and line.endswith(": skipped") for line in caplog.messages)
    assert sorted(one.tobytes() for one in files) == sorted(one.tobytes() for one in records)
    # Whichever images are drawn, a readable one replaces the broken one.
    for seed in range(4):
        count, batches = directory_batches(folder / "images", CalibrationSet(SIZE, batches=1, batch_size=5, seed=seed))
        assert count == len(np.concatenate(list(batches))) == 5
    assert records.dtype == np.float32
    assert records.shape == (5, 3, *SIZE)
    # Padding with zeros, below or to the right of images of another shape.
    assert all((image[:, -1] == 0).all() or (image[:, :, -1] == 0).all() for image in records)
    one = CalibrationSet(SIZE, batches=1, batch_size=2, seed=1)
    other = CalibrationSet(SIZE, batches=1, batch_size=2, seed=2)
    drawn = [next(record_batches(str(folder / "train-*.tfrecord"), which)[1]).tobytes() for which in (one, one, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_encrypted_export_and_its_plain_form(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "net.etlt"
    (tmp_path / ".net.etlt.12345678.partial").touch()
    assert _export(folder, "-o", output, "-k", "the key", "--data_type", "fp16", model="secret.tlt") == EXIT_OK
    assert list(tmp_path.glob(".*.partial")) == []
    plain = tmp_path / "net.onnx"
    assert main(["decrypt", "-m", str(output), "-k", "another", "-o", str(plain)]) == EXIT_INVALID
    assert "the key does not open this file" in caplog.text
    assert not plain.exists()
    assert main(["decrypt", "-m", str(output), "-k", "the key", "-o", str(plain)]) == EXIT_OK
    onnx.checker.check_model(onnx.load(plain), full_check=True)
    spec = load_spec(folder / "spec.yaml")
    images = np.random.default_rng(0).normal(size=(2, *SIZE, 3)).astype(np.float32)
    own = open_detector(output, spec, key="the key", threads=1).detect(images)
    for one, other in zip(own, open_detector(plain, spec, threads=1).detect(images), strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    caplog.clear()
    assert _export(folder, "-o", tmp_path / "x.etlt", "-k", "another", model="secret.tlt") == EXIT_INVALID
    assert "the key does not open this file" in caplog.text


def test_invalid_input_writes_no_model(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert _export(folder, "-o", tmp_path / "p.onnx", model="pruned.tlt") == EXIT_INVALID
    assert "After pruning, the model needs to be retrained first" in caplog.text
    spec = yaml.safe_load((folder / "spec.yaml").read_text())
    spec["maskrcnnConfig"]["nlayers"] = 18
    (tmp_path / "deeper.yaml").write_text(yaml.safe_dump(spec))
    command = ["export", "-e", str(tmp_path / "deeper.yaml"), "-m", str(folder / "model.tlt"), "-o"]
    with pytest.raises(SystemExit) as end:
        main([*command, str(tmp_path / "d.onnx")])
    assert end.value.code == EXIT_INVALID
    assert "maskrcnnConfig.nlayers: 18 in the spec" in caplog.text
    cache = ["--data_type", "int8", "--cal_cache_file", tmp_path / "c.bin"]
    assert _export(folder, "-o", tmp_path / "i.onnx", *cache, "--cal_image_dir", tmp_path / "none") == EXIT_INVALID
    assert "no such directory" in caplog.text
    assert not list(tmp_path.glob("*.onnx"))
    last = json.loads((tmp_path / "status.json").read_text().splitlines()[-1])
    assert last["status"] == "FAILURE"


def test_run_of_the_operator_replaces_the_result_of_an_earlier_attempt(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "model.onnx"
    output.write_bytes(b"half a model")
    assert _export(folder, "-o", output) == EXIT_INVALID
    assert output.read_bytes() == b"half a model"
    monkeypatch.setenv("MASKRCNN_FINGERPRINT", FINGERPRINT)
    monkeypatch.setenv("MASKRCNN_RESULTS_DIR", str(tmp_path))
    assert _export(folder, "-o", output, "--preprocessing") == EXIT_OK
    assert onnx.load(output).graph.node[0].name == "preprocessing/Sub"
    assert json.loads((tmp_path / "result.json").read_text())["fingerprint"] == FINGERPRINT


def test_an_engine_without_tensorrt_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed, so the message about the missing package cannot be tested")
    flags = ["--engine_file", tmp_path / "m.engine"]
    assert _export(folder, "-o", tmp_path / "m.onnx", *flags) == EXIT_INVALID
    assert "the package tensorrt is not installed" in caplog.text
    assert not list(tmp_path.iterdir())
