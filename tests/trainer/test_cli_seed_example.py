"""Documentation page of TAO Toolkit: its sample specification, and the command lines of its six tasks.

Only paths, sizes and counts of the sample are changed. For the second training, the line of pruned_model_path is
uncommented and the regularizer is turned off, as described on the page.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model_files.model_file import MAGIC, read_model_file
from maskrcnn_trainer.results.contents import entries
from maskrcnn_trainer.results.ours import is_ours

# trainings run in processes that import TensorFlow, on machines that may be busy
pytestmark = [pytest.mark.trainer, pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples" / "seed" / "maskrcnn_train_resnet50.txt"
KEY = "nvidia_tlt"
DEADLINE_SECONDS = 500.0

SMALL = {
    "learning_rate_steps": '"[1, 2, 3]"',
    "total_steps": "2",
    "train_batch_size": "1",
    "eval_batch_size": "2",
    "num_steps_per_eval": "2",
    "num_examples_per_epoch": "4",
    "image_size": '"(128, 128)"',
    "eval_samples": "3",
    "max_num_instances": "12",
    "gt_mask_size": "28",
    "batch_size_per_im": "16",
    "fast_rcnn_mlp_head_dim": "64",
    "train_rpn_pre_nms_topn": "64",
    "train_rpn_post_nms_topn": "32",
    "test_rpn_pre_nms_topn": "32",
    "test_rpn_post_nms_topn": "16",
    "test_detections_per_image": "8",
}


def with_fields(text: str, fields: dict[str, str]) -> str:
    """Return the specification with the values of ``fields``, each of which occurs in it once (perhaps after ``#``)."""
    for name, value in fields.items():
        line = f"{name}: {value}".replace("\\", "\\\\")
        text, count = re.subn(rf"(?m)^(?:# )?{name}: .*$", line, text)
        assert count == 1, name
    return text


def run(*arguments: str, code: int = 0) -> str:
    """Run one command without the variables of the trainer, and return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MASKRCNN_", "HOROVOD_"))}
    done = subprocess.run(
        [sys.executable, "-m", "maskrcnn_trainer.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output[-4000:]
    return output


def run_here(*arguments: str, code: int = 0) -> str:
    """Run one command in this process, which has already imported TensorFlow, and return its output."""
    output = io.StringIO()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MASKRCNN_", "HOROVOD_"))}
    with (
        mock.patch.dict(os.environ, kept, clear=True),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        try:
            found: object = main(arguments)
        except SystemExit as end:
            found = end.code
    assert found == code, output.getvalue()[-4000:]
    return output.getvalue()


def metrics(directory: Path) -> dict[str, float]:
    content: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return dict(content["metrics"])


def write_pretrained(path: Path) -> None:
    """Write a ResNet-50 in TAO Toolkit's Keras format, with random weights of a usable magnitude."""
    network = MaskRCNN(Architecture(nlayers=50, fast_rcnn_mlp_head_dim=8))
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, variable in network.named_variables.items():
            if not network.network_path(name).startswith("backbone/"):
                continue
            layer, kind = name.split("/")
            value = variable.numpy()
            if kind == "kernel":
                value = generator.normal(0, np.sqrt(2 / np.prod(value.shape[:-1])), value.shape).astype(np.float32)
            if kind == "gamma" and layer.endswith("bn_3"):
                value *= 0.2
            file.create_dataset(f"model_weights/{layer}/{layer}/{kind}:0", data=value)
            file[f"model_weights/{layer}"].attrs["weight_names"] = [f"{layer}/{kind}:0".encode()]


def test_documented_workflow_of_the_original_runs(  # noqa: PLR0915 - each command needs the results of the one before
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("evaluation.task", "pruning.task", "detector.tlt", "export.task"):
        # threads cannot be set here, because TensorFlow has already started
        monkeypatch.setattr(f"maskrcnn_trainer.{module}.prepare_tensorflow", lambda **_options: None)
    data, raw = tmp_path / "data", tmp_path / "raw"
    generate = [sys.executable, str(ROOT / "examples/shapes/generate.py"), "--output", str(raw)]
    subprocess.run([*generate, "--train", "4", "--val", "3"], check=True, capture_output=True)
    write_pretrained(tmp_path / "resnet50.hdf5")
    paths = {
        "checkpoint": f'"{tmp_path}/resnet50.hdf5"',
        "training_file_pattern": f'"{data}/train*.tfrecord"',
        "validation_file_pattern": f'"{data}/val*.tfrecord"',
        "val_json_file": f'"{raw}/val.json"',
    }
    spec = tmp_path / "maskrcnn_train_resnet50.txt"
    spec.write_text(with_fields(SAMPLE.read_text(), {**paths, **SMALL}))

    for tag, shards in (("train", "2"), ("val", "1")):
        convert = ["dataset_convert", "-i", str(raw / "images"), "-a", str(raw / f"{tag}.json"), "-o", str(data)]
        run(*convert, "--include_mask", "-t", tag, "-s", shards)
    assert len(list(data.glob("train-*-of-00002.tfrecord"))) == 2

    trained = tmp_path / "trained"
    output = run("train", "-e", str(spec), "-d", str(trained), "-k", KEY)
    assert "[#0201] mask_fcn_logits/bias:0 => (91,)" not in output  # blocks 0 and 1 are frozen
    assert "mask_fcn_logits/bias:0 => (91,)" in output
    model = trained / "model.step-2.tlt"
    assert model.read_bytes().startswith(MAGIC)

    evaluated = tmp_path / "evaluated"
    run_here("evaluate", "-e", str(spec), "-m", str(model), "-k", KEY, "-r", str(evaluated))
    assert {"AP", "AP50", "mask_AP", "mask_ARl"} <= set(metrics(evaluated))

    pruned = tmp_path / "pruned"
    run_here("prune", "-m", str(model), "-o", str(pruned), "-pth", "0.9", "-k", KEY)
    assert 0.3 < metrics(pruned)["pruning_ratio"] < 0.95
    refused = run_here("evaluate", "-e", str(spec), "-m", str(pruned / "model.tlt"), "-k", KEY, code=64)
    assert "needs to be retrained first before it can be used for inference or evaluation" in refused
    again = run_here("prune", "-m", str(model), "-o", str(pruned), "-k", KEY, code=64)
    assert "model.tlt already exists" in again

    retrain, retrained = tmp_path / "maskrcnn_retrain_resnet50.txt", tmp_path / "retrained"
    # another batch size, and two processes, which the page forbids
    changed = {"l1_weight_decay": "0.0", "l2_weight_decay": "0.0", "train_batch_size": "2"}
    retrain.write_text(with_fields(spec.read_text(), {"pruned_model_path": f'"{pruned}/model.tlt"', **changed}))
    output = run("train", "-e", str(retrain), "-d", str(retrained), "-k", KEY, "--gpus", "2")
    assert "resnet50.hdf5 is not used" in output
    assert "regulariser" not in output
    model = retrained / "model.step-2.tlt"
    before, after = read_model_file(pruned / "model.tlt", KEY), read_model_file(model, KEY)
    assert after.architecture == before.architecture
    assert after.architecture["filters"]
    assert not after.retrain_required
    assert {name: value.shape for name, value in after.variables.items()} == {
        name: value.shape for name, value in before.variables.items()
    }
    np.testing.assert_array_equal(after.variables["conv1/kernel"], before.variables["conv1/kernel"])  # frozen
    assert np.abs(after.variables["fc6/kernel"] - before.variables["fc6/kernel"]).max() > 0

    results = tmp_path / "inference"
    run_here(
        *["inference", "-i", str(raw / "images"), "-m", str(model), "-e", str(retrain), "-r", str(results)],
        *["-t", "0.01", "--include_mask", "-k", KEY],
    )
    images = sorted((raw / "images").iterdir())
    assert len(list((results / "images_annotated").iterdir())) == len(images)
    assert sorted(path.stem for path in (results / "labels").iterdir()) == sorted(path.stem for path in images)

    exported, calibration = tmp_path / "export" / "model.etlt", tmp_path / "export" / "cal.bin"
    run_here(
        *["export", "-m", str(model), "-e", str(retrain), "-o", str(exported), "-k", KEY, "--gen_ds_config"],
        *["--data_type", "int8", "--batches", "1", "--batch_size", "1", "--cal_cache_file", str(calibration)],
    )
    assert exported.read_bytes().startswith(MAGIC)
    assert re.match(r"TRT-\d+-EntropyCalibration2\n", calibration.read_text())
    assert (exported.parent / "nvinfer_config.txt").is_file()

    for directory in (data, trained, evaluated, pruned, retrained, results, exported.parent):
        found = [entry.path for entry in entries(directory)]
        assert {"status.json", "result.json"} < set(found)
        # evaluate without -r writes next to the model; in a step's directory such files count as the user's
        assert [path for path in found if not is_ours(path)] in ([], ["evaluation/status.json"])
