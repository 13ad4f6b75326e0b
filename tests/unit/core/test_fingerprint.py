from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.core.fingerprint import ALGORITHMS, CURRENT_VERSION

GOLDEN = Path(__file__).parent
MODELS = {"train", "evaluate", "prune", "retrain", "evaluate-pruned", "inference", "export"}
AFTER_TRAIN = MODELS - {"train"}
AFTER_PRUNE = {"retrain", "evaluate-pruned", "inference", "export"}


def desired(experiment: MaskRCNNExperiment) -> DesiredState:
    found = resolve(experiment)
    assert found.problems == ()
    return found


def prints(experiment: MaskRCNNExperiment, version: str = CURRENT_VERSION) -> dict[str, str]:
    return {name: found.by_version[version] for name, found in desired(experiment).prints.items()}


def changed(make: Any, *changes: Any, base: tuple[Any, ...] = (), version: str = CURRENT_VERSION) -> set[str]:
    before, after = prints(make(*base), version), prints(make(*base, *changes), version)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("version", sorted(ALGORITHMS))
def test_fingerprints_match_the_recorded_ones(make: Any, version: str) -> None:
    """A release with other fingerprints would repeat all trainings."""
    assert prints(make(), version) == json.loads((GOLDEN / f"fingerprints-{version}.json").read_text())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # change how a task runs, not its result
        ({"evalBatchSize": 8}, set()),
        ({"loggingFrequency": 50, "reportFrequency": 2, "keepCheckpoints": 0}, set()),
        ({"numStepsPerEval": 500, "visualizeImagesSummary": True}, set()),
        ({"warmupLearningRate": 0.5}, set()),
        ({"numExamplesPerEpoch": 100}, set()),
        ({"dataConfig": {"nWorkers": 2, "prefetchBufferSize": 3}}, set()),
        # explicit defaults, other spellings of the same value
        ({"momentum": 0.9, "useAmp": False, "initLearningRate": 2e-2}, set()),
        ({"maskrcnnConfig": {"bboxRegWeights": [10, 10, 5, 5], "maxLevel": 6}}, set()),
        ({"tf32": True, "xla": False, "maskrcnnConfig": {"syncBn": True}}, set()),
        # evaluation only
        ({"dataConfig": {"evalSamples": 10}}, {"evaluate", "evaluate-pruned"}),
        # detection, not training
        ({"maskrcnnConfig": {"testNms": 0.6}}, {"evaluate", "evaluate-pruned", "inference", "export"}),
        # training
        ({"seed": 7}, MODELS),
        ({"trainBatchSize": 4}, MODELS),
        ({"warmupSteps": 10}, MODELS),
        ({"deterministic": True}, MODELS),
        ({"tf32": False}, MODELS),
        ({"xla": True}, MODELS),
        ({"maskrcnnConfig": {"syncBn": False}}, MODELS),
        ({"numEpochs": 3}, MODELS),
        ({"dataConfig": {"shuffleBufferSize": 10}}, set()),
        ({"dataConfig": {"augmentation": {"scaleJitter": [0.5, 2]}}}, MODELS),
        ({"maskrcnnConfig": {"trainRpnNmsThreshold": 0.8}}, MODELS),
        ({"maskrcnnConfig": {"nlayers": 18}}, MODELS),
        # the retraining uses the weights of the pruned model, which depends on the training
        ({"checkpoint": "/workspace/other.hdf5"}, MODELS),
        ({"skipCheckpointVariables": "head"}, MODELS),
    ],
)
def test_what_a_field_of_the_experiment_changes(make: Any, change: dict[str, Any], expected: set[str]) -> None:
    def apply(spec: dict[str, Any]) -> None:
        for name, value in change.items():
            if isinstance(value, dict):
                spec["experiment"].setdefault(name, {}).update(value)
            else:
                spec["experiment"][name] = value

    assert changed(make, apply) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"objectStores": [{"prefix": "s3://data", "endpoint": "https://store.example.com"}]},
        {"cache": {"sizeLimit": "50Gi"}},
    ],
    ids=["stores", "cache"],
)
def test_way_to_reach_urls_changes_no_result(make: Any, fields: dict[str, Any]) -> None:
    assert changed(make, lambda spec: spec.update(fields)) == set()


def test_url_counts_as_written(make: Any) -> None:
    def checkpoint(url: str) -> Any:
        return lambda spec: spec["experiment"].update(checkpoint=url)

    assert changed(make, checkpoint("file:///workspace/pretrained/resnet50.hdf5")) == MODELS
    assert changed(make, checkpoint("s3://data/a.hdf5"), base=(checkpoint("s3://data/b.hdf5"),)) == MODELS


@pytest.mark.parametrize(
    ("step", "change", "expected"),
    [
        (8, {"export": {"dataType": "fp16"}}, {"export"}),
        (8, {"export": {"dataType": "int8", "batchSize": 8, "engine": {"build": True}}}, {"export"}),
        (8, {"export": {"dataType": "int8", "batchSize": 8}}, set()),
        # the seed of the export draws the records of the calibration, not that of the training
        (8, {"experiment": {"seed": 7}}, {"export"}),
        (7, {"inference": {"imageDir": "/workspace/other", "threshold": 0.5, "includeMask": True}}, {"inference"}),
        (4, {"prune": {"pruningThreshold": 0.6}}, {"prune", *AFTER_PRUNE}),
        (4, {"prune": {"pruningThreshold": 0.5}}, set()),
        (5, {"revision": "again"}, AFTER_PRUNE),
        # compiled training steps don't change an evaluation, but its own products do
        (3, {"experiment": {"xla": True, "maskrcnnConfig": {"syncBn": False}}}, set()),
        (3, {"experiment": {"tf32": False}}, {"evaluate"}),
        (8, {"experiment": {"tf32": False}}, set()),
        (5, {"experiment": {"l1WeightDecay": 0, "l2WeightDecay": 0, "totalSteps": 60001}}, AFTER_PRUNE),
        (2, {"gpusPerNode": 4}, MODELS),
        (2, {"nodes": 1, "gpusPerNode": 16}, set()),
        (2, {"threadsPerProcess": 3, "resources": {}}, set()),
        (2, {"train": {"output": "best"}}, MODELS),
        (3, {"dependsOn": ["convert-val"]}, set()),
        (3, {"modelPath": "/workspace/m.tlt"}, {"evaluate"}),
    ],
)
def test_what_a_field_of_a_step_changes(make: Any, step: int, change: dict[str, Any], expected: set[str]) -> None:
    assert changed(make, lambda spec: spec["steps"][step].update(change)) == expected


@pytest.mark.parametrize(
    ("step", "change", "expected"),
    [
        (0, {"numShards": 8}, {"convert-train", *MODELS}),
        (1, {"numShards": 8}, {"convert-val", "evaluate", "evaluate-pruned"}),
        (0, {"skipBadImages": True}, {"convert-train", *MODELS}),
        (0, {"crowdAsObjects": True}, {"convert-train", *MODELS}),
        (1, {"skipBadImages": False, "crowdAsObjects": False}, set()),
        (0, {"split": "train"}, set()),
        (0, {"tag": None}, set()),
    ],
)
def test_what_a_field_of_a_conversion_changes(make: Any, step: int, change: dict[str, Any], expected: set[str]) -> None:
    assert changed(make, lambda spec: spec["steps"][step]["datasetConvert"].update(change)) == expected


def test_execution_fields_are_not_part_of_the_fingerprint(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec.update(image="trainer:2", maxRestarts=9, queueName="q", activeDeadlineSeconds=5, suspend=True)
        spec["podOverrides"] = {"nodeSelector": {"a": "b"}}
        for step in spec["steps"]:
            step.update(image="trainer:3", activeDeadlineSeconds=5, podOverrides={"nodeSelector": {"a": "c"}})

    assert changed(make, change) == set()


def test_a_key_changes_what_is_written_with_it(make: Any) -> None:
    assert changed(make, lambda spec: spec.update(encryptionKeySecretRef={"name": "k"})) == MODELS


def test_the_best_model_depends_on_its_evaluation(make: Any) -> None:
    def best(spec: dict[str, Any]) -> None:
        spec["steps"][2]["train"]["output"] = "best"

    def fewer(spec: dict[str, Any]) -> None:
        spec["experiment"]["dataConfig"]["evalSamples"] = 10

    assert "train" in changed(make, fewer, base=(best,))


def test_data_named_by_the_user_does_not_depend_on_a_conversion(make: Any) -> None:
    def own(spec: dict[str, Any]) -> None:
        spec["experiment"]["dataConfig"]["trainingFilePattern"] = "/data/t-*"

    def shards(spec: dict[str, Any]) -> None:
        spec["steps"][0]["datasetConvert"]["numShards"] = 8

    assert changed(make, shards, base=(own,)) == {"convert-train"}


def test_form_and_recognition(make: Any) -> None:
    found = desired(make())
    print_ = found.fingerprint("train")
    assert print_.endswith(f"-{CURRENT_VERSION}")
    assert re.fullmatch(r"[0-9a-f]{32}", print_.removesuffix(f"-{CURRENT_VERSION}"))
    assert found.recognizes("train", print_)
    assert not found.recognizes("retrain", print_)
    assert found.recognizes("train", found.prints["train"].by_version["v1"])
    for other in (None, "", print_[:-3], print_[:-1] + "1", print_[:-1] + "9"):
        assert not found.recognizes("train", other)


BEST = {"train": {"output": "best"}}


@pytest.mark.parametrize(
    ("base", "change", "expected"),
    [
        # numEpochs overrides totalSteps, and numExamplesPerEpoch is the length of an epoch
        ({"numEpochs": 3}, {"totalSteps": 7}, set()),
        ({"numEpochs": 3}, {"numExamplesPerEpoch": 7}, MODELS),
        # the best checkpoint depends on when evaluations run: once an epoch, or every numStepsPerEval
        ({"numStepsPerEval": 500}, {"numExamplesPerEpoch": 7}, set()),
        ({}, {"numExamplesPerEpoch": 7}, MODELS),
        ({}, {"numStepsPerEval": 500}, MODELS),
        # the warm-up starts from this rate
        ({"warmupSteps": 10}, {"warmupLearningRate": 0.5}, MODELS),
    ],
)
def test_field_that_another_field_disables_changes_nothing(
    make: Any, base: dict[str, Any], change: dict[str, Any], expected: set[str]
) -> None:
    best = (lambda spec: spec["steps"][2].update(BEST), lambda spec: spec["experiment"].update(base))
    assert changed(make, lambda spec: spec["experiment"].update(change), base=best) == expected


def test_a_checkpoint_next_to_a_pruned_model_changes_nothing(make: Any) -> None:
    def own(spec: dict[str, Any]) -> None:
        spec["steps"][2]["experiment"] = {"prunedModelPath": "/workspace/pruned.tlt"}

    assert changed(make, lambda spec: spec["experiment"].update(checkpoint="/workspace/c.hdf5"), base=(own,)) == set()


def on_images(spec: dict[str, Any]) -> None:
    spec["steps"][8]["export"]["calibration"] = {"imageDir": "/workspace/calibration"}


@pytest.mark.parametrize(
    ("given", "on_records_changes", "on_images_changes"),
    [
        # the seed draws the images, from a directory or from the records
        ({"seed": 7}, {"export"}, {"export"}),
        ({"dataConfig": {"trainingFilePattern": "/data/other-*"}}, {"export"}, set()),
        # the calibration uses the images without augmentation, in the order in which they are drawn
        ({"dataConfig": {"shuffleBufferSize": 10}}, set(), set()),
        ({"dataConfig": {"augmentInputData": False}}, set(), set()),
        ({"dataConfig": {"augmentation": {"scaleJitter": [0.5, 2]}}}, set(), set()),
    ],
)
def test_a_calibration_depends_on_what_it_draws(
    make: Any, given: dict[str, Any], on_records_changes: set[str], on_images_changes: set[str]
) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["steps"][8]["experiment"] = given

    assert changed(make, change) == on_records_changes
    assert changed(make, change, base=(on_images,)) == on_images_changes


def test_version_1_is_unchanged(make: Any) -> None:
    """Version 1 covers the shuffling, but not the seed of a calibration on images."""

    def shuffle(spec: dict[str, Any]) -> None:
        spec["experiment"]["dataConfig"]["shuffleBufferSize"] = 10

    def own_shuffle(spec: dict[str, Any]) -> None:
        spec["steps"][8]["experiment"] = {"dataConfig": {"shuffleBufferSize": 10}}

    def own_seed(spec: dict[str, Any]) -> None:
        spec["steps"][8]["experiment"] = {"seed": 7}

    assert changed(make, shuffle, version="v1") == MODELS
    assert changed(make, own_shuffle, version="v1") == {"export"}
    assert changed(make, own_seed, version="v1") == {"export"}
    assert changed(make, own_seed, base=(on_images,), version="v1") == set()


@pytest.mark.parametrize(
    ("reader", "task", "fields"),
    [
        (1, "datasetConvert", {"annotationsFile": "/workspace/nuclei/convert-train/val.json"}),
        (1, "datasetConvert", {"imageDir": "/workspace/nuclei/convert-train/val"}),
        (7, "inference", {"classMap": "/workspace/nuclei/convert-train/classes.txt"}),
        (8, "export", {"calibration": {"imageDir": "/workspace/nuclei/convert-train/images"}}),
    ],
)
def test_a_step_depends_on_the_step_whose_files_it_reads(
    make: Any, reader: int, task: str, fields: dict[str, Any]
) -> None:
    def read(spec: dict[str, Any]) -> None:
        step = spec["steps"][reader]
        step[task].update(fields)
        step["dependsOn"] = ["convert-train"]
        if reader != 1:
            # otherwise it would depend on that step through its model
            step["modelPath"] = "/workspace/model.tlt"

    def shards(spec: dict[str, Any]) -> None:
        spec["steps"][0]["datasetConvert"]["numShards"] = 7

    name = make().spec.steps[reader].name
    assert name in changed(make, shards, base=(read,))


def test_step_does_not_depend_on_a_step_for_which_it_only_waits(make: Any) -> None:
    def wait(spec: dict[str, Any]) -> None:
        spec["steps"][7].update(dependsOn=["convert-train"], modelPath="/workspace/model.tlt")

    def shards(spec: dict[str, Any]) -> None:
        spec["steps"][0]["datasetConvert"]["numShards"] = 7

    assert "inference" not in changed(make, shards, base=(wait,))


def test_a_step_depends_on_the_step_that_holds_its_checkpoint(make: Any) -> None:
    def shards(spec: dict[str, Any]) -> None:
        spec["steps"][1]["datasetConvert"]["numShards"] = 7

    def own(spec: dict[str, Any]) -> None:
        spec["experiment"]["checkpoint"] = "/workspace/nuclei/convert-val/resnet50.hdf5"

    assert "train" not in changed(make, shards)
    assert "train" in changed(make, shards, base=(own,))


def test_skipped_variables_matter_only_where_weights_are_taken(make: Any) -> None:
    def no_checkpoint(spec: dict[str, Any]) -> None:
        del spec["experiment"]["checkpoint"]

    def skip(spec: dict[str, Any]) -> None:
        spec["experiment"]["skipCheckpointVariables"] = "head"

    # the retraining uses the weights of the pruned model
    assert changed(make, skip, base=(no_checkpoint,)) == AFTER_PRUNE


DETECTED = {"evaluate", "evaluate-pruned", "inference", "export"}


@pytest.mark.parametrize("version", sorted(ALGORITHMS))
@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("anchorOffset", 0.5, MODELS),
        ("anchorRounding", "none", MODELS),
        ("roiMaxLevel", 6, MODELS),
        ("roiAligned", True, MODELS),
        ("roiSamplingRatio", 2, MODELS),
        ("testScoreThreshold", 0, DETECTED),
        ("testCandidateLimit", 1000, DETECTED),
        ("anchorOffset", 0, MODELS),
        ("roiAligned", False, MODELS),
        ("roiSamplingRatio", 0, MODELS),
    ],
)
def test_given_field_that_otherwise_follows_the_model_file_matters_whatever_its_value(
    make: Any, field: str, value: object, expected: set[str], version: str
) -> None:
    def give(spec: dict[str, Any]) -> None:
        spec["experiment"].setdefault("maskrcnnConfig", {})[field] = value

    def give_null(spec: dict[str, Any]) -> None:
        spec["experiment"].setdefault("maskrcnnConfig", {})[field] = None

    # the pruned model depends on the structure through the training
    assert changed(make, give, version=version) == expected
    assert changed(make, give_null, version=version) == set()


@pytest.mark.parametrize(("value", "expected"), [(False, set()), (True, MODELS)])
def test_fixed_scale_and_offset_of_batch_norms_matter_unless_they_have_their_default(
    make: Any, value: bool, expected: set[str]
) -> None:
    def give(spec: dict[str, Any]) -> None:
        spec["experiment"].setdefault("maskrcnnConfig", {})["freezeBnAffine"] = value

    assert changed(make, give) == expected


OPTIONS: list[dict[str, Any]] = [
    {"checkpointStyle": "torchvision"},
    {"checkpointConfig": "/workspace/config.yaml"},
    {"checkpointBnEpsilon": 0},
    {"checkpointBnEpsilon": 1e-5},
    {"checkpointClassNames": ["person"]},
    {"classMapping": {"person": "pedestrian"}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_of_the_checkpoint_matter_with_a_checkpoint_alone(make: Any, options: dict[str, Any]) -> None:
    def no_checkpoint(spec: dict[str, Any]) -> None:
        del spec["experiment"]["checkpoint"]

    def pruned(spec: dict[str, Any]) -> None:
        spec["steps"][2]["experiment"] = {"prunedModelPath": "/workspace/pruned.tlt"}

    def give(spec: dict[str, Any]) -> None:
        spec["experiment"].update(options)

    assert changed(make, give) == MODELS
    assert changed(make, give, base=(no_checkpoint,)) == set()
    assert changed(make, give, base=(pruned,)) == set()


@pytest.mark.parametrize("options", [{"checkpointClassNames": []}, {"classMapping": {}}, {"checkpointConfig": ""}])
def test_empty_options_of_the_checkpoint_are_absent_ones(make: Any, options: dict[str, Any]) -> None:
    assert changed(make, lambda spec: spec["experiment"].update(options)) == set()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_of_the_experiment_are_for_its_checkpoint_those_of_a_step_for_the_model_of_another(
    make: Any, options: dict[str, Any]
) -> None:
    def from_training(spec: dict[str, Any]) -> None:
        del spec["experiment"]["checkpoint"]
        spec["steps"][5]["modelFrom"] = "train"

    def give(spec: dict[str, Any]) -> None:
        spec["experiment"].update(options)

    def give_to_step(spec: dict[str, Any]) -> None:
        spec["steps"][5].setdefault("experiment", {}).update(options)

    after = AFTER_PRUNE - {"prune"}
    assert changed(make, give, base=(from_training,)) == set()
    assert changed(make, give_to_step, base=(from_training,)) == after
    # the pruned model isn't a checkpoint
    assert changed(make, give_to_step) == set()


def test_order_of_a_mapping_does_not_matter(make: Any) -> None:
    def give(spec: dict[str, Any]) -> None:
        spec["experiment"]["classMapping"] = {"person": "a", "car": "b"}

    def turn_around(spec: dict[str, Any]) -> None:
        spec["experiment"]["classMapping"] = {"car": "b", "person": "a"}

    assert changed(make, turn_around, base=(give,)) == set()
