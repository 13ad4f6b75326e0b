"""The train and evaluate tasks as processes: one and two ranks, killed and resumed, stopped, encrypted."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from maskrcnn_trainer.conversion.dataset import convert_dataset
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file
from maskrcnn_trainer.results.history import History, read_history
from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.reporter import Reporter
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.training import train
from maskrcnn_trainer.training.distributed import DistributedContext

pytestmark = [pytest.mark.trainer, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_SECONDS = 400.0
VALIDATION_IMAGES = 3
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MASKRCNN_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    generate = [sys.executable, str(ROOT / "examples/shapes/generate.py"), "--output", str(folder)]
    subprocess.run([*generate, "--train", "9", "--val", str(VALIDATION_IMAGES)], check=True, capture_output=True)
    for split in ("train", "val"):
        convert_dataset(
            str(folder / "images"),
            str(folder / f"{split}.json"),
            str(folder / split),
            tag=split,
            num_shards=2,
            processes=1,
        )
    return folder


def spec_file(data: Path, path: Path, **fields: Any) -> Path:
    experiment = {
        "seed": 3,
        "deterministic": True,
        "totalSteps": 4,
        "numStepsPerEval": 2,
        "trainBatchSize": 1,
        "evalBatchSize": 2,
        "initLearningRate": 0.005,
        "scaleLearningRate": True,
        "loggingFrequency": 1,
        "dataConfig": {
            "imageSize": [128, 128],
            "numClasses": 4,
            "maxNumInstances": 12,
            "trainingFilePattern": str(data / "train" / "train-*.tfrecord"),
            "validationFilePattern": str(data / "val" / "val-*.tfrecord"),
            "valJsonFile": str(data / "val.json"),
        },
        "maskrcnnConfig": {
            "nlayers": 10,
            "freezeBn": False,
            "freezeBlocks": [],
            "gtMaskSize": 28,
            "batchSizePerIm": 16,
            "fastRcnnMlpHeadDim": 32,
            "trainRpnPreNmsTopn": 64,
            "trainRpnPostNmsTopn": 32,
            "testRpnPreNmsTopn": 32,
            "testRpnPostNmsTopn": 16,
            "testDetectionsPerImage": 8,
        },
    }
    path.write_text(yaml.safe_dump({**experiment, **fields}))
    return path


def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MASKRCNN_", "HOROVOD_", "CUDA_"))
    }
    return subprocess.Popen(
        [sys.executable, "-m", "maskrcnn_trainer.cli", *arguments],
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output


def run(*arguments: str, **variables: str) -> str:
    code, output = finish(start(*arguments, **variables))
    assert code == 0, output[-4000:]
    return output


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not path.exists():
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def assert_same(first: ModelFile, second: ModelFile) -> None:
    assert first.step == second.step
    for kind in ("variables", "optimizer"):
        left, right = getattr(first, kind), getattr(second, kind)
        assert set(left) == set(right)
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{kind} {name}")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Path, str]]:
    """Results directory and output of a complete training, once for each number of ranks."""

    @functools.cache
    def train(ranks: int) -> tuple[Path, str]:
        folder = tmp_path_factory.mktemp("trained")
        spec = spec_file(data, folder / "spec.yaml", visualizeImagesSummary=True)
        results = folder / "results"
        return results, run("train", "-e", str(spec), "--gpus", str(ranks), "-d", str(results), **ONE_THREAD)

    return train


@pytest.mark.parametrize("xla", [False, True])
def test_xla_of_the_spec_compiles_the_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xla: bool
) -> None:
    class BuiltError(Exception):
        pass

    def build(*_arguments: Any, jit_compile: bool, **_options: Any) -> None:
        raise BuiltError(jit_compile)

    monkeypatch.setattr(train, "TrainStep", build)
    spec = parse_spec(yaml.safe_load(spec_file(data, tmp_path / "spec.yaml", xla=xla).read_text()))
    reporter = Reporter("train", tmp_path, TaskEnvironment.from_environ())
    with StopRequest() as stop, pytest.raises(BuiltError, match=str(xla)):
        train.train(spec, DistributedContext(), None, reporter, stop, key=None, fingerprints=())


@pytest.mark.parametrize("sync_bn", [False, True])
def test_sync_bn_decides_whether_batch_norms_exchange_moments(data: Path, tmp_path: Path, sync_bn: bool) -> None:
    spec = parse_spec(yaml.safe_load(spec_file(data, tmp_path / "spec.yaml").read_text()))
    model = spec.maskrcnn_config.model_copy(update={"sync_bn": sync_bn})
    spec = spec.model_copy(update={"maskrcnn_config": model})
    network = train._build_network(spec, Architecture.from_spec(spec), DistributedContext(rank=0, size=2))
    assert bool(network.own_statistics) is not sync_bn


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "status.json").read_text().splitlines()]


def test_previews_of_the_validation_images_are_in_the_events(trained: Callable[[int], tuple[Path, str]]) -> None:
    import tensorflow as tf

    results, _ = trained(1)
    found = {}
    for file in (results / "logs" / "tensorboard").glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    width, height, png = tf.make_ndarray(value.tensor)
                    found[event.step, value.tag] = (int(width), int(height), *tf.io.decode_png(png).shape)
    shape = (128, 128, 128, 128, 3)
    expected = {(step, f"{number}_input"): shape for step in (2, 4) for number in range(VALIDATION_IMAGES)}
    assert found == expected


@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_and_resumed_ends_with_the_same_bits(
    data: Path, tmp_path: Path, trained: Callable[[int], tuple[Path, str]], ranks: int
) -> None:
    whole, output = trained(ranks)
    assert "[#0001] conv1/kernel:0 => (7, 7, 3, 64)" in output
    processes = "1 process with 1 thread" if ranks == 1 else "2 processes, each with 1 thread"
    assert re.search(rf"Running on the CPU: {processes}, float32; maskrcnn \S+, tensorflow", output)
    assert "Images: 9, objects: 61, classes: 3; steps: 4" in output

    spec, cut = spec_file(data, tmp_path / "spec.yaml"), tmp_path / "cut"
    command = ["train", "-e", str(spec), "--gpus", str(ranks)]
    process = start(*command, "-d", str(cut), **ONE_THREAD)
    wait_for(cut / "model.step-2.tlt", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (cut / "model.step-4.tlt").exists()
    assert "Resuming from step 2" in run(*command, "-d", str(cut), **ONE_THREAD)
    told = next(record for record in records(cut) if record["message"] == "Resuming from step 2.")
    assert told["checkpointStep"] == 2

    assert_same(read_model_file(whole / "model.step-4.tlt"), read_model_file(cut / "model.step-4.tlt"))
    assert sorted(json.loads((cut / "evaluations.json").read_text())) == ["2", "4"]
    result = json.loads((whole / "result.json").read_text())
    assert (result["code"], result["checkpointStep"], result["processes"]) == (0, 4, ranks)
    assert result["modelPath"] == str(whole / "model.step-4.tlt")
    assert {"AP", "mask_AP50"} <= set(result["metrics"])
    model = read_model_file(whole / "model.step-4.tlt")
    assert result["facts"] == {"parameters": sum(value.size for value in model.variables.values())}
    histories = [read_history(directory) for directory in (whole, cut)]
    for found in histories:
        assert isinstance(found, History)
        assert ([one.step for one in found.windows], [one.step for one in found.evaluations]) == ([1, 2, 3, 4], [2, 4])
        assert found.evaluations == histories[0].evaluations
        assert [one.losses for one in found.windows] == [one.losses for one in histories[0].windows]
    assert [record["status"] for record in records(whole)][0::1000] == ["STARTED"]
    assert records(whole)[-1]["status"] == "SUCCESS"
    assert list((whole / "logs" / "tensorboard").glob("events.*"))
    if ranks == 1:
        # another training only to have a directory to refuse would take half a minute
        other = spec_file(data, tmp_path / "other.yaml", seed=4)
        code, output = finish(start("train", "-e", str(other), "-d", str(whole)))
        assert code == 64
        assert "seed was 3, now 4" in output


def test_training_of_an_older_operator_continues_under_a_newer_one(data: Path, tmp_path: Path) -> None:
    """The newer operator passes two fingerprints, and checkpoints have both; an older one reads the first."""
    older, newer = "a8c47326caeee986b816f946d049d9ad-v1", "58e33fc7a4372b15cb32f18ad2260046-v2"
    results = tmp_path / "results"
    for steps, given in ((1, {}), (2, {"MASKRCNN_FINGERPRINTS": f"{older} {newer}"})):
        spec = spec_file(data, tmp_path / "spec.yaml", totalSteps=steps, numStepsPerEval=10)
        output = run("train", "-e", str(spec), "-d", str(results), MASKRCNN_FINGERPRINT=older, **given, **ONE_THREAD)
    assert "from step 1" in output
    state = read_model_file(results / "model.step-2.tlt", None).state
    assert (state["fingerprint"], state["fingerprints"]) == (older, [older, newer])
    result = json.loads((results / "result.json").read_text())
    assert (result["fingerprint"], result["fingerprints"]) == (older, [older, newer])


def test_scaled_learning_rate_is_multiplied_by_the_processes(trained: Callable[[int], tuple[Path, str]]) -> None:
    def rates(ranks: int) -> dict[int, float]:
        found = records(trained(ranks)[0])
        return {record["step"]: record["graphical"]["learning_rate"] for record in found if record["graphical"]}

    alone, together = rates(1), rates(2)
    steps = alone.keys() & together.keys()
    assert 4 in steps
    for step in steps:
        assert together[step] == pytest.approx(2 * alone[step])


def test_error_that_only_rank_0_finds_is_reported_once(
    data: Path, tmp_path: Path, trained: Callable[[int], tuple[Path, str]]
) -> None:
    results, _ = trained(2)
    other = spec_file(data, tmp_path / "other.yaml", seed=4)
    code, output = finish(start("train", "-e", str(other), "--gpus", "2", "-d", str(results), **ONE_THREAD))
    assert code == 64, output[-4000:]
    lines = output.splitlines()
    assert [line for line in lines if " ERROR " in line] == [line for line in lines if "seed was 3, now 4" in line]
    assert output.count("seed was 3, now 4") == 1
    # neither rank 1 nor Horovod's threads report the process that ended
    assert "[rank 1]" not in output
    assert "orovod" not in output


def test_missing_gpu_is_refused(data: Path, tmp_path: Path) -> None:
    spec = spec_file(data, tmp_path / "spec.yaml")
    command = ["train", "-e", str(spec), "-d", str(tmp_path / "results")]
    code, output = finish(start(*command, "--gpu_index", "7"))
    assert (code, output.count("--gpu_index 7: TensorFlow finds no GPU")) == (64, 1), output[-4000:]


def test_a_stop_leaves_a_checkpoint_of_the_step_reached_and_an_encrypted_model_evaluates(
    data: Path, tmp_path: Path
) -> None:
    spec = spec_file(data, tmp_path / "spec.yaml", totalSteps=100_000, numStepsPerEval=100_000)
    results = tmp_path / "results"
    process = start("train", "-e", str(spec), "-d", str(results), MASKRCNN_KEY="secret")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ((results / "status.json").exists() and any(entry["step"] for entry in records(results))):
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert code == 143, output[-4000:]
    (checkpoint,) = results.glob("model.step-*.tlt")
    assert f"stopped on request after step {checkpoint.stem.rpartition('-')[2]}" in records(results)[-1]["message"]

    evaluated = tmp_path / "evaluated"
    refused, output = finish(start("evaluate", "-e", str(spec), "-m", str(checkpoint), "-r", str(evaluated)))
    assert refused == 64
    assert "encrypted" in output
    run("evaluate", "-e", str(spec), "-m", str(checkpoint), "-r", str(evaluated), "-k", "secret")
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert metrics["num_images"] == VALIDATION_IMAGES
    assert 0.0 <= metrics["metrics"]["mask_AP"] <= 1.0
    assert isinstance(json.loads((evaluated / "detections.json").read_text()), list)
    images = json.loads((evaluated / "images.json").read_text())["images"]
    annotated = json.loads((data / "val.json").read_text())["images"]
    assert sorted(image["id"] for image in images) == sorted(image["id"] for image in annotated)


def test_loss_that_is_not_a_number_ends_with_64_and_names_the_step(data: Path, tmp_path: Path) -> None:
    spec = spec_file(data, tmp_path / "spec.yaml", initLearningRate=100.0, totalSteps=40, numStepsPerEval=40)
    results = tmp_path / "results"
    code, output = finish(start("train", "-e", str(spec), "-d", str(results)))
    assert code == 64, output[-4000:]
    assert "The loss is not a number at step" in output
    assert not list(results.glob("*.tlt"))
