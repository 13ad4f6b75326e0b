from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.core.graph import build_graph
from maskrcnn_operator.core.merge import MergedStep, merge_step, names_directory_of, with_model


def merged(experiment: Any, name: str) -> MergedStep:
    graph = build_graph(experiment)
    assert graph.problems == ()
    return merge_step(experiment, graph, name)


def spec_of(experiment: Any, name: str) -> Any:
    found = merged(experiment, name)
    assert found.problems == ()
    assert found.spec is not None
    return found.spec


def test_missing_data_paths_are_filled_in(make: Any) -> None:
    data = spec_of(make(), "train").data_config
    assert data.training_file_pattern == "/workspace/nuclei/convert-train/train-*.tfrecord"
    assert data.validation_file_pattern == "/workspace/nuclei/convert-val/val-*.tfrecord"
    assert data.val_json_file == "/workspace/raw/val.json"


def test_several_train_sets_and_the_tag_of_the_annotation_file(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        del spec["steps"][0]["datasetConvert"]["tag"]
        more = {"name": "more", "datasetConvert": {"imageDir": "/i", "annotationsFile": "/d/more.v2.json"}}
        spec["steps"].insert(0, more)

    pattern = spec_of(make(change), "train").data_config.training_file_pattern
    assert pattern == "/workspace/nuclei/more/more.v2-*.tfrecord,/workspace/nuclei/convert-train/train-*.tfrecord"


def test_given_paths_are_not_replaced(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["experiment"]["dataConfig"]["trainingFilePattern"] = "/data/t-*"
        files = {"validationFilePattern": "/data/v-*", "valJsonFile": "/data/val.json"}
        spec["steps"][3]["experiment"] = {"dataConfig": files}

    experiment = make(change)
    assert spec_of(experiment, "train").data_config.training_file_pattern == "/data/t-*"
    assert spec_of(experiment, "train").data_config.val_json_file == "/workspace/raw/val.json"
    evaluate = spec_of(experiment, "evaluate").data_config
    assert (evaluate.validation_file_pattern, evaluate.val_json_file) == ("/data/v-*", "/data/val.json")


def test_a_steps_fields_are_merged_by_field(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["steps"][5]["experiment"]["learningRateSteps"] = [10]
        spec["steps"][5]["experiment"]["learningRateDecayLevels"] = [0.1]
        spec["steps"][5]["experiment"]["maskrcnnConfig"] = {"freezeBn": False}

    spec = spec_of(make(change), "retrain")
    assert (spec.total_steps, spec.l2_weight_decay, spec.init_learning_rate) == (60000, 0.0, 0.02)
    assert spec.learning_rate_steps == (10,)
    assert (spec.maskrcnn_config.freeze_bn, spec.maskrcnn_config.freeze_blocks) == (False, (0, 1))


def test_fields_of_a_step_add_no_defaults(make: Any) -> None:
    """The pod gets only the fields that were given."""
    spec = spec_of(make(), "retrain")
    assert {"seed", "total_steps", "l1_weight_decay"} < spec.model_fields_set
    assert "momentum" not in spec.model_fields_set


def test_model_of_another_step_replaces_that_of_the_experiment(make: Any) -> None:
    experiment = make()
    graph = build_graph(experiment)
    assert spec_of(experiment, "train").checkpoint == "/workspace/pretrained/resnet50.hdf5"
    retrain = spec_of(experiment, "retrain")
    assert (retrain.checkpoint, retrain.pruned_model_path) == (None, None)
    final = with_model(retrain, graph.nodes["retrain"], "/workspace/nuclei/prune/model.tlt")
    assert (final.checkpoint, final.pruned_model_path) == (None, "/workspace/nuclei/prune/model.tlt")
    evaluate = spec_of(experiment, "evaluate")
    assert with_model(evaluate, graph.nodes["evaluate"], "/m.tlt") == evaluate


@pytest.mark.parametrize("pruned", [{}, {"prunedModelPath": "/workspace/pruned.tlt"}])
def test_model_from_a_train_step_gives_the_checkpoint(make: Any, pruned: dict[str, str]) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["steps"][5]["modelFrom"] = "train"
        spec["experiment"].update(pruned)

    experiment = make(change)
    final = with_model(spec_of(experiment, "retrain"), build_graph(experiment).nodes["retrain"], "/m.tlt")
    assert (final.checkpoint, final.pruned_model_path) == ("/m.tlt", None)


@pytest.mark.parametrize(
    ("change", "step", "field"),
    [
        (lambda s: s["steps"].pop(1), "train", "spec.steps[1].experiment.dataConfig.validationFilePattern"),
        (lambda s: s["steps"].pop(1), "train", "spec.steps[1].experiment.dataConfig.valJsonFile"),
        (lambda s: s["steps"].pop(0), "export", "spec.steps[7].experiment.dataConfig.trainingFilePattern"),
        (lambda s: s["experiment"].update(checkpoint="c.hdf5"), "train", "spec.experiment.checkpoint"),
        (
            lambda s: s["experiment"]["dataConfig"].update(trainingFilePattern="/a-*,b-*"),
            "train",
            "spec.experiment.dataConfig.trainingFilePattern",
        ),
        (
            lambda s: s["steps"][5]["experiment"].update(checkpoint="s3://data/a#b"),
            "retrain",
            "spec.steps[5].experiment.checkpoint",
        ),
        (
            lambda s: s["steps"][5]["experiment"].update(learningRateSteps=[1]),
            "retrain",
            "spec.steps[5].experiment.learningRateDecayLevels",
        ),
    ],
)
def test_problems_name_step_and_field(make: Any, change: Any, step: str, field: str) -> None:
    found = merged(make(change), step)
    assert found.spec is None
    assert field in [problem.field for problem in found.problems]


def test_urls_are_kept_as_written(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["experiment"]["checkpoint"] = "gs://models/a%20b.hdf5"
        spec["steps"][0]["datasetConvert"]["annotationsFile"] = "s3://data/train.json"
        spec["steps"][1]["datasetConvert"]["annotationsFile"] = "s3://data/raw/val.json"

    spec = spec_of(make(change), "train")
    assert spec.checkpoint == "gs://models/a%20b.hdf5"
    assert spec.data_config.val_json_file == "s3://data/raw/val.json"


def test_prefix_of_records_is_the_name_of_the_annotations_in_their_url(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["steps"][0]["datasetConvert"] = {"imageDir": "s3://data/i", "annotationsFile": "s3://data/more.v2.json"}

    pattern = spec_of(make(change), "train").data_config.training_file_pattern
    assert pattern == "/workspace/nuclei/convert-train/more.v2-*.tfrecord"


def test_relative_path_that_resembles_a_url_is_shown_without_its_query(make: Any) -> None:
    pattern = "/a-*, x:/data/t-*?sig=s3cr3t"
    found = merged(make(lambda s: s["experiment"]["dataConfig"].update(trainingFilePattern=pattern)), "train")
    assert "x:/data/t-*?..." in str(found.problems[0])
    assert "s3cr3t" not in str(found.problems)


def test_tasks_without_a_spec(make: Any) -> None:
    assert merged(make(), "convert-train") == MergedStep(None)
    assert merged(make(), "prune") == MergedStep(None)


@pytest.mark.parametrize(
    ("pattern", "inside"),
    [
        ("/workspace/nuclei/train/model.tlt", True),
        ("/workspace/nuclei/t*/model.tlt", True),
        ("/data/x,/workspace/nuclei/train", True),
        ("/workspace//nuclei/./train/model.tlt", True),
        ("workspace/nuclei/train/model.tlt", False),
        ("/workspace/nuclei/train2/model.tlt", False),
        ("/workspace/other/train/model.tlt", False),
        ("/workspace/nuclei", False),
        ("/data/x,file:///workspace/nuclei/train/model.tlt", True),
        ("s3://workspace/nuclei/train/model.tlt", False),
    ],
)
def test_paths_into_a_steps_directory(pattern: str, inside: bool) -> None:
    assert names_directory_of(pattern, "nuclei", "train") is inside


@pytest.mark.parametrize("name", ["train", "evaluate", "retrain", "inference", "export"])
def test_absent_fields_stay_absent_in_each_step(make: Any, name: str) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["experiment"]["maskrcnnConfig"] = {"maxLevel": 6}
        for step in spec["steps"][2:]:
            step.setdefault("experiment", {})["maskrcnnConfig"] = {"testNms": 0.4}

    config = spec_of(make(change), name).maskrcnn_config
    assert config.model_fields_set == {"max_level", "test_nms"}


def test_given_fields_are_merged_from_experiment_and_step(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["experiment"]["maskrcnnConfig"] = {"roiAligned": True, "testScoreThreshold": 0.05}
        spec["steps"][3]["experiment"] = {"maskrcnnConfig": {"testScoreThreshold": 0}}

    config = spec_of(make(change), "evaluate").maskrcnn_config
    assert (config.roi_aligned, config.test_score_threshold) == (True, 0.0)
    assert config.model_fields_set == {"roi_aligned", "test_score_threshold"}


OPTIONS = {
    "checkpointStyle": "torchvision",
    "checkpointConfig": "/workspace/config.yaml",
    "checkpointBnEpsilon": 0.0,
    "checkpointClassNames": ["person"],
    "classMapping": {"person": "pedestrian"},
}


def options_of(spec: Any) -> dict[str, Any]:
    given = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    return {name: given[name] for name in OPTIONS if given.get(name) not in (None, [], {})}


def test_options_of_the_checkpoint_do_not_apply_to_the_model_of_another_step(make: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["experiment"].update(OPTIONS)

    def from_training(spec: dict[str, Any]) -> None:
        spec["steps"][5]["modelFrom"] = "train"

    assert options_of(spec_of(make(change), "train")) == OPTIONS
    assert options_of(spec_of(make(change), "retrain")) == {}
    assert options_of(spec_of(make(change, from_training), "retrain")) == {}


def test_options_of_a_step_apply_to_the_checkpoint_of_another_step_but_not_to_its_pruned_model(make: Any) -> None:
    own = {"checkpointConfig": "/workspace/own.yaml", "classMapping": {"pedestrian": "worker"}}

    def change(spec: dict[str, Any]) -> None:
        spec["experiment"].update(OPTIONS)
        spec["steps"][5].setdefault("experiment", {}).update(own)

    def from_training(spec: dict[str, Any]) -> None:
        spec["steps"][5]["modelFrom"] = "train"

    assert options_of(spec_of(make(change, from_training), "retrain")) == own
    assert options_of(spec_of(make(change), "retrain")) == {}


def test_relative_path_of_a_checkpoints_config_is_refused_by_field(make: Any) -> None:
    found = merged(make(lambda spec: spec["experiment"].update(checkpointConfig="config.yaml")), "train")
    assert [problem.field for problem in found.problems] == ["spec.experiment.checkpointConfig"]
