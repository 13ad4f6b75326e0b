"""Model that a training starts from: its architecture on all ranks, and a whole training from a detector."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tests.unit.weights import stand_ins

from maskrcnn_trainer.conversion.dataset import convert_dataset
from maskrcnn_trainer.data.class_map import ClassMap, class_map_of
from maskrcnn_trainer.detector import open_detector
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, write_model_file
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.reporter import Reporter
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.training import train as training
from maskrcnn_trainer.training.checkpoint import CheckpointStore
from maskrcnn_trainer.training.continuation import Continuation
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.initial_model import InitialModel, find_initial_model
from maskrcnn_trainer.training.pretrained.start import open_start
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.weights.opening import DetectorOptions, architecture_of_style
from maskrcnn_trainer.weights.style import STYLES, StyleName

pytestmark = pytest.mark.trainer

ROOT = Path(__file__).resolve().parents[3]
FILE = architecture_of_style(STYLES[StyleName.TORCHVISION], nlayers=10, num_classes=5, head_dim=stand_ins.HEAD_DIM)
NAMES = ["round", "square", "star", "triangle"]
CLASS_MAP = ClassMap(ids=(1, 2, 3), names=("disc", "square", "triangle"), num_classes=4)


class FirstRank(DistributedContext):
    """Rank 0 of two, which keeps what it broadcasts."""

    def __init__(self) -> None:
        super().__init__(rank=0, size=2, threads=1)
        self.sent: list[Any] = []

    def broadcast_object(self, value: Any) -> Any:
        self.sent.append(value)
        return value


class SecondRank(DistributedContext):
    """Rank 1 of two, which receives what the other has sent."""

    def __init__(self, sent: list[Any]) -> None:
        super().__init__(rank=1, size=2, threads=1)
        self.received = list(sent)

    def broadcast_object(self, value: Any) -> Any:
        assert value is None
        return self.received.pop(0)


class Data:
    """Data of a training, without its records."""

    class_map = CLASS_MAP


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "m.pth"
    return stand_ins.write(path, stand_ins.detector("torchvision", classes=len(NAMES)), within="model", epoch=26)


def spec_of(checkpoint: Path | None, model: dict[str, Any] | None = None, **fields: Any) -> ExperimentSpec:
    start = {"checkpoint": str(checkpoint), "checkpointStyle": "torchvision", "checkpointClassNames": NAMES}
    return ExperimentSpec.model_validate(
        {
            "initLearningRate": 0.001,
            "totalSteps": 1,
            "trainBatchSize": 1,
            "evalBatchSize": 1,
            "dataConfig": {"imageSize": [128, 128], "numClasses": 4},
            **(start if checkpoint is not None else {}),
            **fields,
            "maskrcnnConfig": model or {},
        }
    )


def found(
    spec: ExperimentSpec, context: DistributedContext | None = None, checkpoint: ModelFile | None = None
) -> InitialModel:
    continuation = Continuation(checkpoint, spec, cast(Any, None), cast(Any, None))
    return find_initial_model(continuation, cast(Any, Data()), context or DistributedContext(), key=None)


def resumed_from(architecture: Architecture) -> ModelFile:
    return ModelFile(architecture.to_json(), {}, CLASS_MAP.to_json(), 3, {})


def test_absent_fields_follow_the_detector_and_classes_the_data(detector: Path) -> None:
    initial = found(spec_of(detector))
    assert initial.architecture == replace(FILE, num_classes=4)
    assert initial.start is not None
    assert initial.start.path == str(detector)


def test_thresholds_of_the_spec_replace_those_of_the_detector(detector: Path) -> None:
    initial = found(spec_of(detector, {"testScoreThreshold": 0.3, "testCandidateLimit": 500}))
    assert initial.architecture == replace(FILE, num_classes=4, score_threshold=0.3, candidate_limit=500)


def test_field_that_contradicts_the_detector_is_refused(detector: Path) -> None:
    with pytest.raises(InvalidInput, match=r"does not match the spec: maskrcnnConfig\.anchorOffset: 0\.5 in the spec"):
        found(spec_of(detector, {"anchorOffset": 0.5}))


def test_training_without_a_file_has_the_fields_of_the_spec() -> None:
    spec = spec_of(None, {"nlayers": 18, "anchorOffset": 0.0})
    assert found(spec).architecture == Architecture(nlayers=18, anchor_offset=0.0, num_classes=4)


def test_fields_follow_our_own_model_file(tmp_path: Path) -> None:
    theirs = replace(FILE, num_classes=4, anchor_scale=4.0)
    values = {"conv1/kernel": np.zeros((7, 7, 3, 64), np.float32)}
    write_model_file(tmp_path / "m.tlt", ModelFile(theirs.to_json(), {}, CLASS_MAP.to_json(), 3, values))
    assert found(spec_of(tmp_path / "m.tlt", {"anchorScale": 16})).architecture == replace(theirs, anchor_scale=16.0)


@pytest.mark.parametrize("changed", [False, True])
def test_resumed_training_has_the_architecture_of_its_checkpoint(tmp_path: Path, changed: bool) -> None:
    path = tmp_path / "m.pth"
    if changed:
        path.write_bytes(b"another file")
    theirs = replace(FILE, num_classes=4)
    initial = found(spec_of(path), checkpoint=resumed_from(theirs))
    assert initial.architecture == theirs
    assert initial.start is None


def test_other_ranks_get_the_architecture_without_the_file(detector: Path) -> None:
    first = FirstRank()
    on_first = found(spec_of(detector), first)
    second = SecondRank(first.sent)
    on_second = found(spec_of(Path("/absent/m.pth")), second)
    assert on_second.architecture == on_first.architecture == replace(FILE, num_classes=4)
    assert on_second.start is None
    assert second.received == []


def test_other_ranks_resume_with_the_architecture_of_the_checkpoint(tmp_path: Path) -> None:
    first = FirstRank()
    theirs = replace(FILE, num_classes=4)
    found(spec_of(tmp_path / "m.pth"), first, resumed_from(theirs))
    second = SecondRank(first.sent)
    assert found(spec_of(tmp_path / "m.pth"), second).architecture == theirs
    assert second.received == []


def test_advice_is_logged_once_by_rank_0(detector: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = FirstRank()
    with caplog.at_level("INFO"):
        found(spec_of(detector, initLearningRate=0.01), first)
        found(spec_of(detector, initLearningRate=0.01), SecondRank(first.sent))
    said = [line for line in caplog.messages if line.startswith("Fine-tuning: ")]
    assert len([line for line in said if "maskrcnnConfig.freezeBnAffine is false" in line]) == 1
    assert len([line for line in said if "which is 0.0025 for 2, and" in line]) == 1


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return ``dataConfig`` of three tiny images of discs, squares, and triangles."""
    folder = tmp_path_factory.mktemp("shapes")
    generate = [sys.executable, str(ROOT / "examples/shapes/generate.py"), "--output", str(folder)]
    subprocess.run([*generate, "--train", "2", "--val", "1"], check=True, capture_output=True)
    for split in ("train", "val"):
        annotations, output = str(folder / f"{split}.json"), str(folder / split)
        convert_dataset(str(folder / "images"), annotations, output, tag=split, num_shards=1, processes=1)
    return {
        "imageSize": [128, 128],
        "numClasses": 4,
        "maxNumInstances": 12,
        "trainingFilePattern": str(folder / "train" / "train-*.tfrecord"),
        "validationFilePattern": str(folder / "val" / "val-*.tfrecord"),
        "valJsonFile": str(folder / "val.json"),
    }


def test_targets_of_the_heads_follow_the_file(
    records: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BuiltError(Exception):
        pass

    def build(network: object, settings: TrainSettings, *arguments: object, **options: object) -> None:
        raise BuiltError(settings.sampling.bbox_reg_weights, settings.mask_resolution)

    theirs = replace(FILE, num_classes=4, bbox_reg_weights=(1.0, 2.0, 3.0, 4.0), mrcnn_resolution=56)
    values = {"conv1/kernel": np.zeros((7, 7, 3, 64), np.float32)}
    write_model_file(tmp_path / "m.tlt", ModelFile(theirs.to_json(), {}, CLASS_MAP.to_json(), 3, values))
    monkeypatch.setattr(training, "TrainStep", build)
    reporter = Reporter("train", tmp_path, TaskEnvironment())
    spec = spec_of(tmp_path / "m.tlt", dataConfig=records)
    with pytest.raises(BuiltError, match=r"\(1\.0, 2\.0, 3\.0, 4\.0\), 56"):
        training.train(spec, DistributedContext(), None, reporter, StopRequest(), key=None, fingerprints=())


def test_training_from_a_detector_keeps_its_architecture_and_opens_without_it(
    detector: Path, records: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = {"batchSizePerIm": 16, "gtMaskSize": 28, "trainRpnPreNmsTopn": 64, "trainRpnPostNmsTopn": 32}
    tests = {"testRpnPreNmsTopn": 32, "testRpnPostNmsTopn": 16, "testDetectionsPerImage": 8}
    frozen = {"freezeBlocks": [0], "freezeBn": False, "freezeBnAffine": True}
    spec = spec_of(detector, {**sizes, **tests, **frozen}, dataConfig=records, classMapping={"round": "disc"})
    store = CheckpointStore(tmp_path, key=None, keep=5, guard=lambda: None)
    reporter = Reporter("train", tmp_path, TaskEnvironment())
    with caplog.at_level("INFO"):
        training.train(spec, DistributedContext(), store, reporter, StopRequest(), key=None, fingerprints=())
    classes = "3 classes (disc, square, triangle) are those of the file; new are those of no class"
    assert f"checkpoint: class layers: weights of the background and of {classes}" in caplog.messages

    model = read_model_file(store.path(1))
    assert architecture_of(model) == replace(FILE, num_classes=4)
    assert class_map_of(model) == CLASS_MAP
    options = DetectorOptions("torchvision", class_names=NAMES)
    theirs = open_start(detector, options=options).source_for(architecture_of(model)).values
    kept = {name for name, value in model.variables.items() if np.array_equal(value, theirs[name])}
    assert "conv1/kernel" in kept
    assert {"bn_conv1/gamma", "block_4a_bn_1/gamma", "block_4a_bn_1/beta"} <= kept
    assert kept.isdisjoint({"block_4a_bn_1/moving_mean", "block_4a_conv_1/kernel", "fc6/kernel"})
    row = model.variables["class-predict/bias"][[1, 2, 3]]
    np.testing.assert_allclose(row, theirs["class-predict/bias"][[1, 2, 4]], atol=0.01)

    # that it detects is tested with an imported model
    opened = open_detector(store.path(1), spec_of(None, tests, dataConfig=records), threads=1)
    assert (opened.class_map, opened.image_size) == (CLASS_MAP, (128, 128))
    assert (store.metrics(1) or {}).keys() >= {"AP", "mask_AP"}
