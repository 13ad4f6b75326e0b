"""Content of an experiment from its directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.report.content import Experiment
from maskrcnn_trainer.report.experiment import ReadExperiment, read_experiment
from maskrcnn_trainer.report.inputs.experiment_directory import open_directory


def read(path: Path) -> Experiment:
    return read_all(path).experiment


def read_all(path: Path) -> ReadExperiment:
    return read_experiment(open_directory(path))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made.make_experiment(tmp_path / "ws")


def test_experiment_with_all_files_has_no_notes(home: Path) -> None:
    found = read(home)
    assert found.name == "shapes"
    assert found.notes == ()


def test_metrics_of_the_analysis_equal_those_of_the_evaluation(home: Path) -> None:
    found = read(home).evaluation
    assert found is not None
    recorded = json.loads((home / "evaluate-fp16" / "metrics.json").read_text())
    assert found.metrics == recorded["metrics"]
    curve = found.precision_recall[0].overall
    assert curve is not None
    assert sum(curve) / len(curve) == pytest.approx(recorded["metrics"]["mask_AP50"])
    assert {one.category: dict(one.metrics) for one in found.classes} == {
        entry["category_id"]: {name: entry[name] for name in ("AP", "AP50", "mask_AP", "mask_AP50")}
        for entry in recorded["per_class"]
    }


def test_directory_of_an_experiment_shows_its_last_evaluation(home: Path) -> None:
    found = read(home).evaluation
    assert found is not None
    assert (found.step, found.model) == ("evaluate-fp16", "/workspace/shapes/export/model.onnx")


def test_directory_of_an_evaluation_shows_that_and_its_siblings(home: Path) -> None:
    found = read(home / "evaluate")
    assert found.name == "shapes/evaluate"
    assert found.evaluation is not None
    assert found.evaluation.step == "evaluate"
    assert [row.kind for row in found.models] == ["trained", "pruned", "retrained", "fp16"]


def test_directory_of_a_training_shows_the_evaluation_of_its_model(home: Path) -> None:
    found = read(home / "train").evaluation
    assert found is not None
    assert found.step == "evaluate"


def test_images_that_were_not_evaluated_do_not_count(home: Path) -> None:
    shown = [one for one in made.RESULTS if one["image_id"] <= 2]
    made.evaluate(home / "evaluate", home / "train" / "model.step-40.tlt", results=shown, seen=2)
    found = read(home / "evaluate")
    assert found.evaluation is not None
    assert (found.evaluation.images, found.evaluation.objects) == (2, 3)
    assert found.notes == ()


def test_each_model_has_its_size_its_weights_and_the_metrics_of_its_own_evaluation(home: Path) -> None:
    results = [made.RESULTS[0]]
    made.evaluate(home / "evaluate-fp16", home / "export" / "model.onnx", minute=8, results=results)
    rows = {row.kind: row for row in read(home).models}
    assert {kind: row.step for kind, row in rows.items()} == {
        "trained": "train",
        "pruned": "prune",
        "retrained": "retrain",
        "fp16": "export",
    }
    assert {kind: row.parameters for kind, row in rows.items()} == {
        "trained": 1000,
        "pruned": 600,
        "retrained": 600,
        "fp16": 600,
    }
    assert rows["fp16"].megabytes == 0.5
    assert rows["fp16"].images_per_second == 5.5
    assert set(rows["trained"].metrics) == {"AP", "AP50", "mask_AP", "mask_AP50"}
    assert rows["fp16"].metrics["AP50"] < rows["trained"].metrics["AP50"]
    assert rows["pruned"].metrics == rows["retrained"].metrics == {}
    assert {kind: row.evaluation for kind, row in rows.items()} == {
        "trained": "evaluate",
        "pruned": None,
        "retrained": None,
        "fp16": "evaluate-fp16",
    }


def test_evaluated_checkpoint_that_is_no_artifact_has_a_row(home: Path) -> None:
    made.write_model(home / "train" / "model.step-20.tlt", made.SPEC, 20)
    made.evaluate(home / "evaluate-early", home / "train" / "model.step-20.tlt", minute=9)
    row = read(home).models[-1]
    assert (row.step, row.kind, row.path) == ("train", "trained", "/workspace/shapes/train/model.step-20.tlt")
    assert row.metrics["AP50"] > 0


def test_spec_differences_are_those_of_the_model_that_was_trained(home: Path) -> None:
    found = read(home / "evaluate").differences
    assert found is not None
    values = {one.field: one.values for one in found}
    assert values["seed"] == ("123", "7")
    assert values["dataConfig.imageSize"] == ("(required)", "[128, 128]")
    assert values["maskrcnnConfig.nlayers"] == ("50", "18")
    assert "momentum" not in values


def test_step_whose_spec_is_shown_is_the_training_of_the_model_or_else_the_evaluation(home: Path) -> None:
    assert read(home / "evaluate").spec_step == "train"
    assert read(home).spec_step == "retrain"
    spec = json.loads(json.dumps(made.SPEC).replace("/workspace", str(home.parent)))
    made.write_json(home / "evaluate" / "logs" / "attempt-1.spec.yaml", spec)
    shutil.rmtree(home / "train")
    shutil.rmtree(home / "retrain")
    assert read(home / "evaluate").spec_step == "evaluate"


def test_spec_next_to_the_log_counts_for_a_local_run(home: Path) -> None:
    for attempt, seed in ((2, 8), (10, 9)):
        spec = json.dumps(made.SPEC | {"seed": seed}).replace("/workspace", str(home.parent))
        made.write_json(home / "train" / "logs" / f"attempt-{attempt}.spec.yaml", json.loads(spec))
    found = read(home / "evaluate").differences
    assert found is not None
    values = {one.field: one.values[1] for one in found}
    assert values["seed"] == "9"
    assert values["dataConfig.valJsonFile"] == '"/workspace/raw/val.json"'


def test_data_sets_have_the_counts_of_the_conversions_that_the_spec_names(home: Path) -> None:
    training, validation = read(home).data
    assert (training.name, training.images, training.identity) == ("training", 100, "ab" * 16)
    assert [(one.name, one.objects, one.small, one.medium, one.large) for one in training.classes] == [
        ("one", 30, 10, 15, 5),
        ("two", 20, 0, 20, 0),
    ]
    assert (validation.name, validation.images) == ("validation", made.IMAGES)


def test_validation_objects_are_counted_where_no_conversion_recorded_them(home: Path) -> None:
    shutil.rmtree(home / "convert-val")
    validation = read(home).data[1]
    assert validation.images == made.IMAGES
    assert [(one.name, one.objects, one.small, one.medium, one.large) for one in validation.classes] == [
        ("one", 2, 1, 1, 0),
        ("two", 2, 0, 1, 1),
    ]


def test_facts_have_seed_hardware_versions_and_durations(home: Path) -> None:
    facts = read(home).facts
    assert facts["seed"] == "7"
    assert facts["network"] == "resnet-18"
    assert facts["hardware"] == "1 process with 2 CPU threads, NVIDIA H100 80GB HBM3 (81,559 MiB)"
    assert facts["versions"] == "python 3.11.7, numpy 2.0.2"
    assert facts["duration of retrain"] == "0:00:59"


def test_different_versions_name_their_steps(home: Path) -> None:
    file = home / "train" / "result.json"
    made.write_json(file, json.loads(file.read_text()) | {"versions": {"python": "3.12.1"}})
    facts = read(home).facts
    assert facts["versions of train"] == "python 3.12.1"
    assert "versions" not in facts


def test_curves_have_the_total_loss_first(home: Path) -> None:
    train, retrain = read(home).trainings
    assert (train.step, retrain.step) == ("train", "retrain")
    assert [curve.name for curve in train.losses] == ["total_loss", "rpn_box_loss"]
    assert train.losses[0].x == (10.0, 20.0, 30.0, 40.0)
    assert train.learning_rate is not None
    assert train.learning_rate.y == (0.02,) * 4
    assert train.images_per_second is not None
    # an undefined mask AP has no curve
    assert [(curve.name, curve.x, curve.y) for curve in train.evaluations] == [("box AP", (40.0,), (0.5,))]


def test_changed_annotations_are_noted(home: Path) -> None:
    changed = made.DOCUMENT | {"annotations": made.DOCUMENT["annotations"][:2]}
    made.write_json(home.parent / "raw" / "val.json", changed)
    assert any("mask_AP50 in metrics.json" in note for note in read(home).notes)


def test_experiment_without_an_evaluate_step_is_advised_to_add_one(home: Path) -> None:
    for step in ("evaluate", "evaluate-fp16"):
        shutil.rmtree(home / step)
    (note,) = read(home).notes
    assert note == "No evaluate step has finished. Add one to the experiment: {name: evaluate, evaluate: {}}."


def test_unfinished_steps_are_left_out(home: Path) -> None:
    (home / "evaluate-fp16" / "result.json").unlink()
    found = read(home)
    assert found.evaluation is not None
    assert found.evaluation.step == "evaluate"


def test_evaluation_without_a_result_yet_is_shown_in_its_own_report(home: Path) -> None:
    (home / "evaluate-fp16" / "result.json").unlink()
    found = read(home / "evaluate-fp16").evaluation
    assert found is not None
    assert found.step == "evaluate-fp16"


def test_results_of_an_older_release_are_read(home: Path) -> None:
    for step in ("train", "retrain"):
        (home / step / "history.jsonl").unlink()
    for step in ("evaluate", "evaluate-fp16"):
        (home / step / "images.json").unlink()
    for file in home.glob("*/result.json"):
        content = json.loads(file.read_text())
        content.pop("facts", None)
        made.write_json(file, content)
    status = [
        {"status": "RUNNING", "step": 10, "graphical": {"loss": 2.0, "learning_rate": 0.1, "images_per_second": 3.0}},
        {"status": "RUNNING", "step": 20, "graphical": {"loss": 1.5}, "kpi": {}},
        {"status": "RUNNING", "step": 20, "graphical": {}, "kpi": {"AP": 0.25}},
        {"status": "RUNNING", "step": 10, "graphical": {"loss": 1.9}},
    ]
    (home / "train" / "status.json").write_text("".join(json.dumps(line) + "\n" for line in status) + '{"half')
    found = read(home)
    assert found.evaluation is not None
    assert found.evaluation.images == made.IMAGES
    assert [history.step for history in found.trainings] == ["train"]
    # the training was resumed before step 10
    assert (found.trainings[0].losses[0].x, found.trainings[0].losses[0].y) == ((10.0,), (1.9,))
    assert [row.parameters for row in found.models] == [None] * 4
    (note,) = found.notes
    assert note.startswith("retrain/history.jsonl is absent")


def test_unknown_images_of_an_older_release_leave_out_the_analysis(home: Path) -> None:
    made.evaluate(home / "evaluate", home / "train" / "model.step-40.tlt", results=made.RESULTS[:1], seen=3)
    (home / "evaluate" / "images.json").unlink()
    found = read(home / "evaluate")
    assert found.evaluation is None
    assert any("it is unknown which images it saw" in note for note in found.notes)
    assert found.models[0].metrics["AP50"] > 0


def test_encrypted_model_leaves_the_spec_unrecorded(home: Path) -> None:
    for step, steps in (("train", 40), ("retrain", 20)):
        made.write_model(home / step / f"model.step-{steps}.tlt", made.SPEC, steps, key="secret")
    found = read(home)
    assert (found.differences, found.spec_step) == (None, None)
    assert "The spec isn't recorded, or its model is encrypted." in found.notes
    assert found.evaluation is not None
    assert found.models[0].metrics["AP50"] > 0


def test_deleted_sibling_steps_are_left_out(home: Path) -> None:
    for step in ("convert-train", "convert-val", "train", "prune", "retrain", "evaluate"):
        shutil.rmtree(home / step)
    found = read(home / "evaluate-fp16")
    assert found.evaluation is not None
    assert [row.kind for row in found.models] == ["fp16"]
    assert found.models[0].metrics["AP50"] > 0


def test_older_release_without_a_spec_leaves_out_the_analysis(home: Path) -> None:
    for step in ("train", "retrain"):
        shutil.rmtree(home / step)
    (home / "evaluate" / "images.json").unlink()
    found = read(home / "evaluate")
    assert found.evaluation is None
    assert any("the spec with its annotation file isn't recorded" in note for note in found.notes)


def test_model_in_another_directory_brings_its_step(home: Path, tmp_path: Path) -> None:
    alone = tmp_path / "ws" / "other" / "evaluate"
    alone.parent.mkdir()
    shutil.copytree(home / "evaluate", alone)
    file = alone / "result.json"
    file.write_text(file.read_text().replace("shapes/evaluate", "other/evaluate"))
    found = read(alone)
    assert [row.step for row in found.models] == ["train"]
    assert found.evaluation is not None


@pytest.mark.parametrize("file", ["metrics.json", "detections.json"])
def test_damaged_last_evaluation_leaves_the_one_before(home: Path, file: str) -> None:
    (home / "evaluate-fp16" / file).write_text("{")
    found = read_all(home)
    assert found.experiment.evaluation is not None
    assert found.experiment.evaluation.step == "evaluate"
    assert found.experiment.spec_step == "train"
    assert found.experiment.notes == (
        f"evaluate-fp16/{file} isn't valid JSON.",
        "Step evaluate is shown, because step evaluate-fp16 can't be analyzed.",
    )


def test_damaged_evaluation_is_not_replaced_in_its_own_report(home: Path) -> None:
    (home / "evaluate-fp16" / "metrics.json").write_text("{")
    assert read(home / "evaluate-fp16").evaluation is None


def test_evaluations_that_can_all_not_be_read_leave_out_the_analysis(home: Path) -> None:
    for step in ("evaluate", "evaluate-fp16"):
        (home / step / "detections.json").unlink()
    found = read_all(home)
    assert found.analyzed is None
    assert found.directory.evaluation is not None
    assert found.directory.evaluation.name == "evaluate-fp16"


def test_unfinished_training_has_its_curves_and_its_spec(tmp_path: Path) -> None:
    step = tmp_path / "ws" / "shapes" / "train"
    made.write_json(step / "logs" / "attempt-1.spec.yaml", made.SPEC)
    (step / "history.jsonl").write_text('{"step": 10, "losses": {"total_loss": 3.5}}\n')
    found = read(tmp_path / "ws" / "shapes")
    (training,) = found.trainings
    assert (training.step, training.losses[0].y) == ("train", (3.5,))
    assert found.spec_step == "train"
    assert found.facts["seed"] == "7"
    assert found.models == ()
    assert found.notes == (
        "No evaluate step has finished. Add one to the experiment: {name: evaluate, evaluate: {}}.",
        "Step train hasn't finished; its curves end where it was last recorded.",
    )


def test_spec_of_a_finished_training_counts_more_than_that_of_an_unfinished_one(home: Path) -> None:
    (home / "retrain" / "result.json").unlink()
    shutil.rmtree(home / "evaluate-fp16")
    shutil.rmtree(home / "evaluate")
    found = read(home)
    assert found.spec_step == "train"
    assert [training.step for training in found.trainings] == ["train", "retrain"]


def test_data_sets_without_a_spec_are_found_by_the_names_of_their_records(home: Path) -> None:
    for step in ("train", "prune", "retrain"):
        shutil.rmtree(home / step)
    training, validation = read(home).data
    assert (training.name, training.images, training.classes[0].objects) == ("training", 100, 30)
    assert (validation.name, validation.images) == ("validation", made.IMAGES)
    assert validation.classes[0].objects == 30


def test_damaged_list_of_images_is_noted_where_the_records_are_used_instead(home: Path) -> None:
    (home / "evaluate-fp16" / "images.json").write_text("{")
    found = read(home)
    assert found.evaluation is not None
    assert found.evaluation.step == "evaluate-fp16"
    assert found.notes == (
        "evaluate-fp16/images.json is not valid JSON; the images are those of the validation data in the spec.",
    )


def test_problems_of_an_annotation_file_are_named(home: Path) -> None:
    images = [image | {"width": -1} for image in made.DOCUMENT["images"]]
    made.write_json(home.parent / "raw" / "val.json", made.DOCUMENT | {"images": images})
    (note,) = read(home).notes
    assert note.startswith(f"The annotation file can't be read: {home.parent}/raw/val.json: 4 problems: images[0]")
    assert [f"images[{number}]" in note for number in range(4)] == [True, True, True, False]
    assert note.endswith("; and others.")


def test_better_model_of_another_step_is_found(home: Path) -> None:
    assert read(home).better is None
    made.evaluate(home / "evaluate-fp16", home / "export" / "model.onnx", minute=8, results=made.RESULTS[:1])
    better = read(home).better
    assert better is not None
    assert (better.step, better.shown_kind) == ("train", "fp16")
