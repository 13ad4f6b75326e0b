"""Task table of the trainer compared with runs of the tasks: files that they leave, fields of the spec that they read.

Every task runs with a small model, in the order of an experiment; tasks whose options matter run more than once. A
field counts as read if code gets it as an attribute. This doesn't cover fields that are only read with values that no
run here has, and the test_* fields in the digest of the inputs of an evaluation, which has that part of the spec whole.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
import yaml
from tests.unit.written_files import is_written_by

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.results.contents import entries
from maskrcnn_trainer.spec import DataConfig, ExperimentSpec, MaskRCNNConfig, require_paths, rules, steps
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.experiment import CHECKPOINT_OPTIONS
from maskrcnn_trainer.spec.purposes import Purpose, Purposes, fields_for, fields_without_purpose
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.training import evaluations, inputs

pytestmark = [pytest.mark.trainer, pytest.mark.slow]

PARTS: dict[type[SpecModel], str] = {
    ExperimentSpec: "",
    DataConfig: "data_config.",
    MaskRCNNConfig: "maskrcnn_config.",
}

CHECKS = frozenset({rules.__file__, sys.modules[require_paths.__module__].__file__})
"""Files that only read the spec for errors and warnings."""

# TensorFlow gets both, but detection has no random operations
GIVEN_TO_TENSORFLOW = frozenset({"deterministic", "seed"})

WITHOUT_EFFECT: dict[TaskName, frozenset[str]] = {
    TaskName.EVALUATE: GIVEN_TO_TENSORFLOW,
    TaskName.INFERENCE: GIVEN_TO_TENSORFLOW,
    # of the spec in the model file (it has no other), for the computational cost that it logs
    TaskName.PRUNE: frozenset(
        {
            "data_config.image_size",
            "maskrcnn_config.test_detections_per_image",
            "maskrcnn_config.test_rpn_post_nms_topn",
        }
    ),
}
"""Fields that a task reads without an effect on its result."""

# the first may only be true, which rules.py checks; the others are only read when weights are loaded
UNREAD = frozenset({"maskrcnn_config.include_mask", "skip_checkpoint_variables", *CHECKPOINT_OPTIONS})


@dataclass(frozen=True)
class Run:
    """Run of a task.

    Attributes:
        directory: results directory.
        readers: files whose code reads a field of the spec, by field, without errors and warnings.
    """

    task: TaskName
    directory: Path
    readers: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Runs:
    """Return all runs by the name of their directory."""

    root: Path
    by_name: dict[str, Run] = field(default_factory=dict)

    def run(self, name: str, task: TaskName, *arguments: object) -> Path:
        readers: defaultdict[str, set[str]] = defaultdict(set)

        def recording(part: SpecModel, attribute: str) -> Any:
            prefix = PARTS.get(type(part))
            if prefix is not None and attribute in type(part).model_fields and f"{attribute}." not in PARTS.values():
                readers[prefix + attribute].add(sys._getframe(1).f_code.co_filename)
            return object.__getattribute__(part, attribute)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SpecModel, "__getattribute__", recording, raising=False)
            for variable in ("MASKRCNN_FINGERPRINT", "MASKRCNN_KEY", "MASKRCNN_RESULTS_DIR"):
                patch.delenv(variable, raising=False)
            for module in ("training.task", "evaluation.task", "pruning.task", "detector.tlt", "export.task"):
                # threads cannot be set here, because TensorFlow has already started
                patch.setattr(f"maskrcnn_trainer.{module}.prepare_tensorflow", lambda **_options: None)
            code = main([task.command, *map(str, arguments)])
        assert code == 0, name
        found = {one: frozenset(files) - CHECKS for one, files in readers.items()}
        directory = self.root / name
        self.by_name[name] = Run(task, directory, {one: files for one, files in found.items() if files})
        return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    options = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    root = tmp_path_factory.mktemp("tasks")
    found = Runs(root)
    raw, spec = root / "raw", root / "spec.yaml"
    write_dataset(raw)
    spec.write_text(yaml.safe_dump(experiment(root)))
    convert = ["-i", raw / "images", "-a", raw / "annotations.json", "-s", 2]
    found.run("data", TaskName.DATASET_CONVERT, *convert, "-o", root / "data", "-t", "train")
    trained = found.run("trained", TaskName.TRAIN, "-e", spec, "-d", root / "trained") / "model.step-2.tlt"
    model = ["-e", spec, "-m", trained]
    found.run("evaluated", TaskName.EVALUATE, *model, "-r", root / "evaluated")
    found.run("pruned", TaskName.PRUNE, "-m", trained, "-o", root / "pruned", "-pth", 0.9)
    inferred = ["-r", root / "inferred", "-i", raw / "images", "-t", 0.01, "--include_mask"]
    found.run("inferred", TaskName.INFERENCE, *model, *inferred)
    int8 = ["--data_type", "int8", "--batches", 1, "--batch_size", 1]
    for name, flags in (
        ("exported", []),
        ("exported-on-images", [*int8, "--cal_image_dir", raw / "images", "--cal_cache_file"]),
        ("exported-on-records", [*int8, "--cal_cache_file"]),
    ):
        cache = [root / name / "cal.bin"] if flags else []
        found.run(name, TaskName.EXPORT, *model, "--gen_ds_config", "-o", root / name / "model.onnx", *flags, *cache)
    yield found
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **options})


def write_dataset(folder: Path) -> None:
    """Write two images with one object each."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in (1, 2):
        coarse = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.jpg"), cv2.resize(coarse, (128, 128)))
        images.append({"id": number, "file_name": f"{number}.jpg", "height": 128, "width": 128})
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [10, 20, 40, 30], "area": 1200, "iscrowd": 0}
            | {"segmentation": [[10, 20, 50, 20, 50, 50, 10, 50]]}
        )
    categories = [{"id": 1, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


def experiment(root: Path) -> dict[str, Any]:
    """Return a spec in which no field switches another one off."""
    records = str(root / "data" / "train-*.tfrecord")
    return {
        "totalSteps": 2,
        "numStepsPerEval": 2,
        "warmupSteps": 1,
        "initLearningRate": 0.005,
        "globalGradientClipRatio": 1.0,
        "l1WeightDecay": 0.00001,
        "trainBatchSize": 1,
        "evalBatchSize": 2,
        "visualizeImagesSummary": True,
        "dataConfig": {
            "imageSize": [128, 128],
            "numClasses": 2,
            "maxNumInstances": 12,
            "trainingFilePattern": records,
            "validationFilePattern": records,
            "valJsonFile": str(root / "raw" / "annotations.json"),
            "augmentation": {"scaleJitter": [0.8, 1.2]},
        },
        "maskrcnnConfig": {
            "nlayers": 10,
            "freezeBn": False,
            "freezeBlocks": [],
            "gtMaskSize": 28,
            "mrcnnResolution": 16,
            "batchSizePerIm": 16,
            "fastRcnnMlpHeadDim": 32,
            "trainRpnPreNmsTopn": 64,
            "trainRpnPostNmsTopn": 32,
            "testRpnPreNmsTopn": 32,
            "testRpnPostNmsTopn": 16,
            "testDetectionsPerImage": 8,
        },
    }


def test_every_file_that_a_task_leaves_is_in_its_entry(runs: Runs) -> None:
    assert {run.task for run in runs.by_name.values()} == set(TaskName)
    for run in runs.by_name.values():
        left = [entry.path for entry in entries(run.directory)]
        assert left
        assert [path for path in left if not is_written_by(run.task, path)] == [], run.task


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("data", frozenset()),
        ("trained", TASKS[TaskName.TRAIN].reads_by_option),
        ("evaluated", frozenset()),
        ("pruned", frozenset()),
        ("inferred", frozenset()),
        ("exported", frozenset()),
        ("exported-on-images", frozenset({Purpose.CALIBRATION})),
        ("exported-on-records", frozenset({Purpose.CALIBRATION, Purpose.CALIBRATION_RECORDS})),
    ],
)
def test_a_task_reads_the_fields_of_its_purposes(runs: Runs, name: str, options: Purposes) -> None:
    run = runs.by_name[name]
    declared = fields_for(ExperimentSpec, TASKS[run.task].reads | options)
    others = fields_without_purpose(ExperimentSpec) | WITHOUT_EFFECT.get(run.task, frozenset())
    assert run.readers.keys() - others - declared == set(), "read, but declared for another purpose or for none"
    assert declared - run.readers.keys() <= UNREAD, "declared, but not read"


def test_a_training_reads_the_fields_of_an_evaluation_for_evaluations_alone(runs: Runs) -> None:
    entry = TASKS[TaskName.TRAIN]
    known = {evaluations.__file__, inputs.__file__, steps.__file__}
    trained, evaluated = runs.by_name["trained"].readers, runs.by_name["evaluated"].readers
    for name in fields_for(ExperimentSpec, entry.reads_by_option) - fields_for(ExperimentSpec, entry.reads):
        assert trained[name] - evaluated.get(name, frozenset()) <= known, name
