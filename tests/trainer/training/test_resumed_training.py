"""A training compares the checkpoint it finds with its data, classes and processes before it continues."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.data.convert.dataset import convert_dataset
from maskrcnn_trainer.environment import TaskEnvironment
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.modelfile import ModelFile, read_model_file, write_model_file
from maskrcnn_trainer.report import Reporter
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.stopping import StopRequest
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.distributed import Ranks
from maskrcnn_trainer.training.train import Training

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


def training(spec: ExperimentSpec, directory: Path, fingerprint: str | None = None) -> Training:
    store = CheckpointStore(directory, key=None, keep=5, guard=lambda: None)
    reporter = Reporter("train", directory, TaskEnvironment())
    return Training(spec, Ranks(), store, reporter, StopRequest(), key=None, fingerprint=fingerprint)


@pytest.fixture(scope="module")
def checkpoint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Of the only step of a training that freezes block 1."""
    directory = tmp_path_factory.mktemp("trained")
    training(experiment(data, freezeBlocks=[1]), directory, FINGERPRINT).run()
    return read_model_file(directory / "model.step-1.tlt")


@pytest.fixture
def resumed(checkpoint: ModelFile, tmp_path: Path) -> Any:
    """Write the checkpoint with other content into a results directory, which is returned."""

    def write(**changes: Any) -> Path:
        state = {**checkpoint.state, **changes.pop("state", {})}
        write_model_file(tmp_path / "model.step-1.tlt", dataclasses.replace(checkpoint, state=state, **changes))
        return tmp_path

    return write


def test_absent_freeze_blocks_stay_those_of_the_checkpoint(
    data: Path, resumed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found = training(experiment(data), resumed())
    assert found.network.freeze_blocks == (1,)
    assert "maskrcnnConfig.freezeBlocks is absent: it stays [1], as in the checkpoint of step 1" in caplog.text
    with pytest.raises(InvalidInput, match=r"maskrcnnConfig\.freezeBlocks was \[1\], now \[0, 1\]"):
        training(experiment(data, freezeBlocks=[0, 1]), resumed())


def test_records_that_moved_continue_and_other_records_are_refused(data: Path, resumed: Any, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "moved")
    moved = experiment(data, freezeBlocks=[1])
    config = moved.data_config.model_copy(
        update={"training_file_pattern": str(tmp_path / "moved" / "train" / "train-*.tfrecord")}
    )
    training(moved.model_copy(update={"data_config": config}), resumed())
    with pytest.raises(InvalidInput, match="step 1 was trained on other records than .*: 24 records then, 2 now"):
        training(experiment(data), resumed(state={"records": 24, "recordsDigest": "other"}))


def test_an_operator_s_run_says_that_its_records_or_processes_changed(
    data: Path, resumed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    training(experiment(data), resumed(state={"records": 24, "recordsDigest": "other", "ranks": 2}), FINGERPRINT)
    assert "Resuming on other data: the checkpoint of step 1" in caplog.text
    assert "processes: 2 then, 1 now" in caplog.text


def test_other_classes_are_refused_also_under_a_fingerprint(data: Path, checkpoint: ModelFile, resumed: Any) -> None:
    names = list(checkpoint.class_map["names"])
    names[0], names[1] = names[1], names[0]
    for fingerprint in (None, FINGERPRINT):
        with pytest.raises(InvalidInput, match="has other classes: class 1 was category 1 "):
            training(experiment(data), resumed(class_map={**checkpoint.class_map, "names": names}), fingerprint)
