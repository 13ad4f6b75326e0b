"""Notes on valid specs, and the check for the paths that tasks need."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.spec import SpecError, merge_experiment, notes, parse_spec, plan_steps, require_paths
from maskrcnn_trainer.spec.task_name import TaskName


@pytest.fixture
def quiet(minimal: dict[str, Any]) -> dict[str, Any]:
    """Return a spec without notes."""
    return {**minimal, "checkpoint": "/workspace/resnet50.hdf5"}


def test_ordinary_spec_has_no_notes(quiet: dict[str, Any]) -> None:
    assert notes(parse_spec(quiet)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learningRateSteps": [998, 999], "learningRateDecayLevels": [0.1, 0.01]}, "[999] have no effect"),
        ({"numEpochs": 2}, "numEpochs (2) and totalSteps (1000) are both set; numEpochs is used"),
        ({"warmupSteps": 1000}, "warmupSteps (1000) should be less than the number of training steps (1000)"),
        (
            {"warmupSteps": 100, "learningRateSteps": [99], "learningRateDecayLevels": [0.1]},
            "[99] lie within the warm-up, which lasts until step 100",
        ),
        ({"warmupSteps": 10, "warmupLearningRate": 1}, "the learning rate falls during the warm-up"),
        ({"prunedModelPath": "/workspace/model.tlt"}, "resnet50.hdf5 is not used, because prunedModelPath is set"),
        ({"l1WeightDecay": 0.0001}, "l1WeightDecay 0.0001 shrinks"),
        ({"maskrcnnConfig": {"gtMaskSize": 14}}, "gtMaskSize (14) is less than mrcnnResolution (28)"),
        (
            {"dataConfig": {"shuffleBufferSize": 100}},
            "dataConfig.shuffleBufferSize (100) has no effect on a new training",
        ),
        ({"saveCheckpointsSteps": 5}, "saveCheckpointsSteps has no effect"),
        ({"wandbConfig": {"project": "p"}}, "wandbConfig has no effect"),
        ({"clearmlConfig": {}}, "clearmlConfig has no effect"),
    ],
)
def test_probable_mistake_is_reported(quiet: dict[str, Any], change: dict[str, Any], words: str) -> None:
    (note,) = notes(parse_spec(merge_experiment(quiet, change)))
    assert words in note


def test_freezing_without_a_checkpoint_is_noted(minimal: dict[str, Any]) -> None:
    found = notes(parse_spec({**minimal, "skipCheckpointVariables": "head"}))
    assert [text.split()[0] for text in found] == [
        "maskrcnnConfig.freezeBn",
        "maskrcnnConfig.freezeBlocks",
        "skipCheckpointVariables",
    ]
    free = merge_experiment(minimal, {"maskrcnnConfig": {"freezeBn": False, "freezeBlocks": []}})
    assert notes(parse_spec(free)) == []


def test_tasks_that_do_not_train_have_no_notes(minimal: dict[str, Any]) -> None:
    spec = parse_spec({**minimal, "numEpochs": 2, "skipCheckpointVariables": "head"})
    assert notes(spec, trains=False) == []


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"checkpointStyle": "torchvision"}, "checkpointStyle has no effect without a checkpoint"),
        ({"checkpointBnEpsilon": 0}, "checkpointBnEpsilon has no effect without a checkpoint"),
        (
            {
                "skipCheckpointVariables": "head",
                "checkpointConfig": "/workspace/config.yaml",
                "checkpointClassNames": ["person"],
                "classMapping": {"person": "pedestrian"},
            },
            "skipCheckpointVariables, checkpointConfig, checkpointClassNames, classMapping have no effect without a "
            "checkpoint",
        ),
    ],
)
def test_options_of_a_checkpoint_that_is_absent_are_noted(
    minimal: dict[str, Any], options: dict[str, Any], note: str
) -> None:
    free = merge_experiment(minimal, {"maskrcnnConfig": {"freezeBn": False, "freezeBlocks": []}})
    assert notes(parse_spec({**free, **options})) == [note]
    assert notes(parse_spec({**free, **options, "checkpoint": "/workspace/detector.pth"})) == []


def test_with_a_plan_the_end_is_known_from_epochs(quiet: dict[str, Any]) -> None:
    spec = parse_spec(
        {**quiet, "totalSteps": 0, "numEpochs": 1, "learningRateSteps": [60], "learningRateDecayLevels": [0.1]}
    )
    assert notes(spec) == []
    (note,) = notes(spec, plan_steps(spec, num_records=100, ranks=1))
    assert note == "learningRateSteps [60] have no effect: the training ends at step 50"


@pytest.mark.parametrize(
    ("task", "missing"),
    [
        (TaskName.TRAIN, ["trainingFilePattern", "validationFilePattern", "valJsonFile"]),
        (TaskName.EVALUATE, ["validationFilePattern", "valJsonFile"]),
        (TaskName.EXPORT, ["trainingFilePattern"]),
        (TaskName.INFERENCE, []),
        (TaskName.PRUNE, []),
    ],
)
def test_each_task_needs_its_paths(minimal: dict[str, Any], task: TaskName, missing: list[str]) -> None:
    spec = parse_spec(minimal)
    if missing:
        with pytest.raises(SpecError) as caught:
            require_paths(spec, task)
        assert [str(problem).split(":")[0] for problem in caught.value.problems] == [
            f"dataConfig.{name}" for name in missing
        ]
        assert all(f"is required by {task}" in problem.message for problem in caught.value.problems)
    filled = merge_experiment(minimal, {"dataConfig": dict.fromkeys(missing, "/workspace/x")})
    require_paths(parse_spec(filled), task)
