"""Inputs in results directories of steps that do not run before the reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.runs import RunState

from .world import World

Make = Callable[..., Any]

CONVERT, CONVERT_VAL, TRAIN, EVALUATE, PRUNE, RETRAIN, EVALUATE_PRUNED, INFERENCE, EXPORT = range(9)


def put(index: int, task: str | None, **fields: Any) -> Callable[[dict[str, Any]], object]:
    def change(spec: dict[str, Any]) -> None:
        step = spec["steps"][index]
        (step if task is None else step[task]).update(fields)

    return change


def both(*changes: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda spec: [change(spec) for change in changes]


def experiment(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda spec: spec["experiment"].update(fields)


def data(index: int | None, **fields: Any) -> Callable[[dict[str, Any]], object]:
    def change(spec: dict[str, Any]) -> None:
        owner = spec if index is None else spec["steps"][index]
        owner.setdefault("experiment", {}).setdefault("dataConfig", {}).update(fields)

    return change


OVERLAPS = [
    # the step's own directory
    (put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-train"), "steps[0].datasetConvert.imageDir", 0),
    (put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-train/raw"), "steps[0].datasetConvert.imageDir", 0),
    (put(0, "datasetConvert", imageDir="/workspace/nuclei"), "steps[0].datasetConvert.imageDir", 0),
    (put(0, "datasetConvert", imageDir="/workspace"), "steps[0].datasetConvert.imageDir", 0),
    (put(0, "datasetConvert", imageDir="/"), "steps[0].datasetConvert.imageDir", 0),
    # of a step that runs later, or at the same time
    (
        put(0, "datasetConvert", annotationsFile="/workspace/nuclei/train/train.json"),
        "steps[0].datasetConvert.annotationsFile",
        2,
    ),
    (put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-val"), "steps[0].datasetConvert.imageDir", 1),
    (put(7, "inference", imageDir="/workspace/nuclei/evaluate/x"), "steps[7].inference.imageDir", 3),
    (put(7, "inference", classMap="/workspace/nuclei/inference/map.txt"), "steps[7].inference.classMap", 7),
    (put(7, None, modelPath="/workspace/nuclei/train/model.step-5.tlt"), "steps[7].modelPath", 2),
    (
        put(8, "export", dataType="int8", calibration={"imageDir": "/workspace/nuclei/inference"}),
        "steps[8].export.calibration.imageDir",
        7,
    ),
    (experiment(checkpoint="/workspace/nuclei/retrain/model.step-5.tlt"), "spec.experiment.checkpoint", 5),
    (
        put(2, None, experiment={"prunedModelPath": "/workspace/nuclei/prune/model.tlt"}),
        "steps[2].experiment.prunedModelPath",
        4,
    ),
    (data(None, valJsonFile="/workspace/nuclei/evaluate/val.json"), "spec.experiment.dataConfig.valJsonFile", 3),
    (data(2, valJsonFile="/workspace/nuclei/evaluate/val.json"), "steps[2].experiment.dataConfig.valJsonFile", 3),
    # patterns
    (
        data(None, trainingFilePattern="/data/a-*, /workspace/nuclei/inference/x-*"),
        "spec.experiment.dataConfig.trainingFilePattern",
        7,
    ),
    (data(None, trainingFilePattern="/workspace/nuclei/[e]*/a-*"), "spec.experiment.dataConfig.trainingFilePattern", 3),
    (data(None, trainingFilePattern="/workspace/**/a-*"), "spec.experiment.dataConfig.trainingFilePattern", 2),
    (data(None, validationFilePattern="/*/nuc?ei/*/v-*"), "spec.experiment.dataConfig.validationFilePattern", 2),
    # older results of another step, which are deleted
    (put(3, None, modelPath="/workspace/nuclei/train.0a1b2c3d/model.step-5.tlt"), "steps[3].modelPath", 2),
    (put(3, None, modelPath="/workspace/nuclei/train.0a1b2c3d.1/model.step-5.tlt"), "steps[3].modelPath", 2),
    (
        data(None, trainingFilePattern="/workspace/nuclei/convert-train.0a1b2c3d/train-*"),
        "spec.experiment.dataConfig.trainingFilePattern",
        0,
    ),
    # URLs of files
    (put(0, "datasetConvert", imageDir="file:///workspace/nuclei/convert-train"), "datasetConvert.imageDir", 0),
    (data(None, trainingFilePattern="file:///workspace/**/a-*"), "dataConfig.trainingFilePattern", 2),
    # other spellings of the path
    (put(0, "datasetConvert", imageDir="//workspace//nuclei/./convert-train//"), "datasetConvert.imageDir", 0),
    (put(0, "datasetConvert", imageDir="/workspace/raw/../nuclei/x/../convert-train"), "datasetConvert.imageDir", 0),
    (put(0, "datasetConvert", imageDir="/../workspace/nuclei/train"), "datasetConvert.imageDir", 2),
]


@pytest.mark.parametrize(("change", "field", "owner"), OVERLAPS)
def test_an_input_where_a_step_writes_is_invalid(make: Make, change: Any, field: str, owner: int) -> None:
    world = World(make(change))
    world.settle()
    assert world.runs == {}
    assert world.conditions() == {"Stalled": "True", "Succeeded": "Unknown", "Ready": "False"}
    ready = world.experiment.status.condition("Ready")
    assert ready is not None
    assert ready.reason == "InvalidSpec"
    (found,) = [line for line in ready.message.splitlines() if f"(spec.steps[{owner}].name)" in line][:1]
    assert f"{field}: /" in found or f"{field}: file:///" in found


ACCEPTED = [
    # of an earlier step: its results stay while this step runs
    put(7, "inference", imageDir="/workspace/nuclei/convert-train/images"),
    both(put(7, None, modelPath="/workspace/nuclei/train/model.step-5.tlt"), put(7, None, dependsOn=["train"])),
    data(None, trainingFilePattern="/workspace/nuclei/convert-*/train-*.tfrecord"),
    data(None, valJsonFile="/workspace/nuclei/convert-val/val.json"),
    # in an object store
    put(0, "datasetConvert", imageDir="s3://workspace/nuclei/convert-train"),
    data(None, trainingFilePattern="s3://workspace/**/a-*,gs://workspace/nuclei/inference/*"),
    # next to results
    put(0, "datasetConvert", imageDir="/workspace/nuclei/raw"),
    put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-train2"),
    put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-train.old"),
    put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-val.20260131"),
    put(2, None, experiment={"checkpoint": "/workspace/nuclei/train.0a1b2c3d/model.step-5.tlt"}),
    put(0, "datasetConvert", imageDir="/workspace/nuclei/removed.0a1b2c3d"),
    put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-train/../raw"),
    put(0, "datasetConvert", imageDir="/workspace/nuclei2/convert-train"),
    put(0, "datasetConvert", imageDir="/nuclei/convert-train"),
    experiment(checkpoint="/workspace/nuclei/removed/model.step-5.tlt"),
    data(None, trainingFilePattern="/workspace/tr*"),
    data(None, trainingFilePattern="/workspace/nuclei/tfrecords-*"),
    # paths that are not read
    put(8, "export", dataType="fp32", calibration={"imageDir": "/workspace/nuclei/inference"}),
    lambda spec: spec["steps"][5].update(experiment={"checkpoint": "/workspace/nuclei/retrain/x"}),
    both(
        put(2, None, experiment={"prunedModelPath": "/workspace/pruned.tlt"}),
        experiment(checkpoint="/workspace/nuclei/evaluate/c.hdf5"),
    ),
]


@pytest.mark.parametrize("change", ACCEPTED)
def test_inputs_outside_of_results_are_accepted(make: Make, change: Any) -> None:
    desired = resolve(make(change))
    assert desired.problems == ()
    assert desired.overlaps == {}


def test_message_names_a_remedy(make: Make) -> None:
    def found(change: Any, step: str) -> str:
        (problem,) = resolve(make(change)).overlaps[step]
        return str(problem)

    assert found(put(7, None, modelPath="/workspace/nuclei/train/m.tlt"), "inference") == (
        "spec.steps[7].modelPath: /workspace/nuclei/train/m.tlt lies in the results directory of step train "
        "(spec.steps[2].name), which may be moved or deleted: use another path, rename that step, or add it to "
        "dependsOn"
    )
    assert found(put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-train"), "convert-train") == (
        "spec.steps[0].datasetConvert.imageDir: /workspace/nuclei/convert-train is the results directory of this step "
        "(spec.steps[0].name), which may be moved or deleted: use another path, or rename the step"
    )
    assert found(put(0, "datasetConvert", imageDir="/workspace/nuclei"), "convert-train").endswith(
        "/workspace/nuclei contains the results directory of this step (spec.steps[0].name), which may be moved or "
        "deleted: use a directory without it"
    )


BAD = put(0, "datasetConvert", imageDir="/workspace/nuclei/convert-train")


def test_a_step_that_has_started_continues(make: Make) -> None:
    """An earlier release accepted such an experiment."""
    world = World(make(BAD))
    prints = resolve(world.experiment)
    world.edit(make())
    world.settle()
    world.edit(make(BAD))
    steps = tuple(
        step.model_copy(update={"fingerprint": prints.fingerprint(step.name)}) if step.name == "convert-train" else step
        for step in world.experiment.status.steps
    )
    world.experiment = world.experiment.with_status(world.experiment.status.model_copy(update={"steps": steps}))
    world.change("convert-train", fingerprint=prints.fingerprint("convert-train"))
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}
    world.succeed("convert-train", "convert-val")
    assert world.live() == {"train"}
    # the next edit would rerun it
    world.edit(make(BAD, put(0, "datasetConvert", numShards=7)))
    world.settle()
    assert world.conditions()["Stalled"] == "True"


@pytest.mark.parametrize("ended", [{}, {"state": RunState.FAILED, "exit_code": 75}])
def test_a_run_that_the_status_does_not_know_yet_continues(make: Make, ended: dict[str, Any]) -> None:
    world = World(make())
    world.settle()
    fresh = make(BAD)
    world.edit(fresh.with_status(fresh.status))
    world.change("convert-train", fingerprint=resolve(fresh).fingerprint("convert-train"), **ended)
    world.look()
    assert world.conditions().get("Stalled") != "True"


def test_a_step_that_has_started_continues_after_its_run_vanished(make: Make) -> None:
    world = World(make())
    world.settle()
    recorded = resolve(make(BAD)).fingerprint("convert-train")
    steps = tuple(
        step.model_copy(update={"fingerprint": recorded}) if step.name == "convert-train" else step
        for step in world.experiment.status.steps
    )
    world.edit(make(BAD))
    world.experiment = world.experiment.with_status(world.experiment.status.model_copy(update={"steps": steps}))
    del world.runs[world.newest("convert-train").key]
    world.settle()
    assert world.conditions().get("Stalled") != "True"
    assert world.step("convert-train").reason == "RunLost"


@pytest.mark.parametrize(
    ("name", "directory", "step"),
    [("nuclei", "/workspace/nuclei/images", "images"), ("raw", "/workspace/raw/images", "images")],
)
def test_the_layout_of_the_readme_with_a_step_called_as_the_images(
    make: Make, name: str, directory: str, step: str
) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["steps"] = [
            {"name": step, "datasetConvert": {"imageDir": directory, "annotationsFile": "/workspace/raw/train.json"}}
        ]

    found = make(change)
    found = found.model_copy(update={"metadata": found.metadata.model_copy(update={"name": name})})
    assert list(resolve(found).overlaps) == [step]


def test_the_remedy_offers_no_dependency_on_a_step_that_runs_later(make: Make) -> None:
    (problem,) = resolve(make(experiment(checkpoint="/workspace/nuclei/evaluate/c.hdf5"))).overlaps["train"]
    assert str(problem).endswith("moved or deleted: use another path, or rename the step")


def test_annotations_of_a_train_set_are_read_by_its_conversion_alone(make: Make) -> None:
    change = put(0, "datasetConvert", annotationsFile="/workspace/nuclei/inference/train.json")
    assert list(resolve(make(change)).overlaps) == ["convert-train"]
