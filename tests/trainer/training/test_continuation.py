"""Comparison of a checkpoint with the data, classes, and processes of a training that resumes from it."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_trainer.conversion.dataset import convert_dataset
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, write_model_file
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.reporter import Reporter
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.continuation import Continuation, find_continuation
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.preparation import prepare_data
from maskrcnn_trainer.training.train import train

ROOT = Path(__file__).resolve().parents[3]
FINGERPRINT = "aaaaaaaa111111111111111111111111-v1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    generate = [sys.executable, str(ROOT / "examples/shapes/generate.py"), "--output", str(folder)]
    subprocess.run([*generate, "--train", "2", "--val", "1"], check=True, capture_output=True)
    for split in ("train", "val"):
        convert_dataset(
            str(folder / "images"),
            str(folder / f"{split}.json"),
            str(folder / split),
            tag=split,
            num_shards=1,
            processes=1,
        )
    return folder


def experiment(data: Path, **model: Any) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "seed": 3,
            "totalSteps": 1,
            "trainBatchSize": 1,
            "evalBatchSize": 1,
            "initLearningRate": 0.005,
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
                "gtMaskSize": 28,
                "batchSizePerIm": 16,
                "fastRcnnMlpHeadDim": 32,
                "trainRpnPreNmsTopn": 64,
                "trainRpnPostNmsTopn": 32,
                "testRpnPreNmsTopn": 32,
                "testRpnPostNmsTopn": 16,
                "testDetectionsPerImage": 8,
                **model,
            },
        }
    )


def store_of(directory: Path) -> CheckpointStore:
    return CheckpointStore(directory, key=None, keep=5, guard=lambda: None)


def trained(spec: ExperimentSpec, directory: Path, *fingerprints: str) -> ModelFile:
    """Train to the last step, and return its checkpoint."""
    store, reporter = store_of(directory), Reporter("train", directory, TaskEnvironment())
    done = train(spec, DistributedContext(), store, reporter, StopRequest(), key=None, fingerprints=fingerprints)
    return read_model_file(store.path(done.steps))


def resume(spec: ExperimentSpec, directory: Path, *fingerprints: str) -> Continuation:
    """Return the point from which a training in this directory continues."""
    return find_continuation(spec, prepare_data(spec, ranks=1), DistributedContext(), store_of(directory), fingerprints)


@pytest.fixture(scope="module")
def checkpoint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Checkpoint of the only step of a training that freezes block 1."""
    return trained(experiment(data, freezeBlocks=[1]), tmp_path_factory.mktemp("trained"), FINGERPRINT)


@pytest.fixture
def resumed(checkpoint: ModelFile, tmp_path: Path) -> Any:
    """Write the checkpoint with changed content into a results directory, and return the directory."""

    def write(**changes: Any) -> Path:
        state = {**checkpoint.state, **changes.pop("state", {})}
        write_model_file(tmp_path / "model.step-1.tlt", dataclasses.replace(checkpoint, state=state, **changes))
        return tmp_path

    return write


def test_absent_freeze_blocks_stay_those_of_the_checkpoint(
    data: Path, checkpoint: ModelFile, resumed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = resumed()
    two_steps = experiment(data).model_copy(update={"total_steps": 2})
    after = trained(two_steps, before)
    assert "maskrcnnConfig.freezeBlocks is absent: it stays [1], as in the checkpoint of step 1" in caplog.text
    assert after.experiment["maskrcnnConfig"]["freezeBlocks"] == [1]
    moved = {
        name
        for name, value in after.variables.items()
        if name.endswith("kernel") and not np.array_equal(value, checkpoint.variables[name])
    }
    assert not any(name.startswith("block_1") for name in moved), moved
    assert {"conv1/kernel"} <= moved
    with pytest.raises(InvalidInput, match=r"maskrcnnConfig\.freezeBlocks was \[1\], now \[0, 1\]"):
        resume(experiment(data, freezeBlocks=[0, 1]), resumed())


def test_records_that_moved_continue_and_other_records_are_refused(data: Path, resumed: Any, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "moved")
    moved = experiment(data, freezeBlocks=[1])
    config = moved.data_config.model_copy(
        update={"training_file_pattern": str(tmp_path / "moved" / "train" / "train-*.tfrecord")}
    )
    resume(moved.model_copy(update={"data_config": config}), resumed())
    with pytest.raises(InvalidInput, match="step 1 was trained on other records than .*: 24 records then, 2 now"):
        resume(experiment(data), resumed(state={"records": 24, "recordsDigest": "other"}))


def test_run_of_the_operator_logs_changed_records_or_processes(
    data: Path, resumed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    resume(experiment(data), resumed(state={"records": 24, "recordsDigest": "other", "ranks": 2}), FINGERPRINT)
    assert "Resuming on other data: the checkpoint of step 1" in caplog.text
    assert "processes: 2 then, 1 now" in caplog.text


def test_other_classes_are_refused_also_under_a_fingerprint(data: Path, checkpoint: ModelFile, resumed: Any) -> None:
    names = list(checkpoint.class_map["names"])
    names[0], names[1] = names[1], names[0]
    for fingerprints in ((), (FINGERPRINT,)):
        with pytest.raises(InvalidInput, match="has other classes: class 1 was category 1 "):
            resume(experiment(data), resumed(class_map={**checkpoint.class_map, "names": names}), *fingerprints)
