"""Specs, annotations, and table of the comparison of fine-tuning with new heads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fine_tuning import (
    CLASSES,
    NEW_CLASS,
    Run,
    base_run,
    compared_runs,
    experiment_of,
    metrics_by_step,
    rows,
    verdict,
    without_class,
)
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.weights.opening import architecture_of_style
from maskrcnn_trainer.weights.style import STYLES, StyleName

DETECTOR = Path("/weights/detector.safetensors")


def common(steps: int, classes: int = 4) -> dict:
    data = Path("/data")
    return experiment_of(data, data / "val.json", seed=5, steps=steps, every=20, side=128, classes=classes)


def pair() -> tuple[Run, Run]:
    return compared_runs(common(40), common(120), DETECTOR)


def test_base_detector_has_the_architecture_of_torchvision() -> None:
    base = base_run(common(60, classes=3), None)
    ours = Architecture.from_spec(ExperimentSpec.model_validate(base.experiment))
    expected = architecture_of_style(STYLES[StyleName.TORCHVISION], nlayers=18, num_classes=3, head_dim=256)
    different = {name for name in vars(ours) if getattr(ours, name) != getattr(expected, name)}
    # what no spec sets, or any spec may change
    assert different <= {
        "batch_norm_epsilon",
        "least_proposal_side",
        "least_detection_side",
        "mask_pasting",
        "score_threshold",
        "candidate_limit",
    }
    assert ours.epsilon == 1e-5


def test_batch_norms_of_a_base_detector_learn_only_without_pretrained_weights(tmp_path: Path) -> None:
    assert base_run(common(60), None).experiment["maskrcnnConfig"]["freezeBn"] is False
    pretrained = base_run(common(60), tmp_path / "resnet18.safetensors").experiment
    assert "freezeBn" not in pretrained["maskrcnnConfig"]
    assert pretrained["checkpoint"] == str(tmp_path / "resnet18.safetensors")


def test_both_trainings_differ_in_loaded_variables_and_in_length_alone() -> None:
    tuning, rival = pair()
    scheduled = {"totalSteps", "warmupSteps", "learningRateSteps", "numStepsPerEval"}
    different = {name for name in rival.experiment if tuning.experiment.get(name) != rival.experiment[name]}
    assert different == {"skipCheckpointVariables", "totalSteps", "warmupSteps", "learningRateSteps"}
    assert {name: rival.experiment[name] for name in scheduled} == {
        "totalSteps": 120,
        "warmupSteps": 15,
        "learningRateSteps": [90, 110],
        "numStepsPerEval": 20,
    }


def test_fine_tuning_names_the_classes_of_the_detector_in_its_order() -> None:
    names = pair()[0].experiment["checkpointClassNames"]
    assert names == [name for name in CLASSES if name != NEW_CLASS]


def test_specs_are_valid() -> None:
    for run in (*pair(), base_run(common(60, classes=3), DETECTOR)):
        assert ExperimentSpec.model_validate(run.experiment).total_steps == run.steps


@pytest.mark.parametrize(
    "path", ["fpn/l2/kernel", "rpn_head/rpn/bias", "box_head/fc6/kernel", "mask_head/conv5-mask/b"]
)
def test_new_heads_leave_out_all_but_the_backbone(path: str) -> None:
    skipped = pair()[1].experiment["skipCheckpointVariables"]
    assert re.search(skipped, path)
    assert not re.search(skipped, "backbone/block_1a_conv_1/kernel")


def test_annotations_without_a_class_keep_images_and_ids() -> None:
    content = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1}, {"id": 8, "image_id": 2, "category_id": 3}],
        "categories": [{"id": 1, "name": "disc"}, {"id": 3, "name": "triangle"}],
    }
    assert without_class(content, "disc") == {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [{"id": 8, "image_id": 2, "category_id": 3}],
        "categories": [{"id": 3, "name": "triangle"}],
    }


def at(mask_ap: float, box_ap: float = 0.5) -> dict[str, float]:
    return {"mask_AP": mask_ap, "AP": box_ap}


def test_table_leaves_steps_without_an_evaluation_empty() -> None:
    assert rows({"fine-tuning": {20: at(0.25)}, "new heads": {20: at(0.125), 40: at(0.5)}}, 5) == [
        "| 5 | fine-tuning | 0.250 |  |",
        "| 5 | new heads | 0.125 | 0.500 |",
    ]


def test_verdict_compares_the_ends() -> None:
    assert verdict({20: at(0.25), 40: at(0.375)}, {40: at(0.5), 120: at(0.25, 0.625)}, 5) == (
        "Seed 5: mask AP 0.375 (box AP 0.500) after 40 steps of fine-tuning, 0.250 (0.625) after 120 steps with new "
        "heads: mask AP +0.125 with 0.33 of the steps"
    )


def test_fine_tuning_has_its_own_rate_and_directory() -> None:
    tuning, rival = compared_runs(common(40), common(120), DETECTOR, 0.004)
    assert (tuning.experiment["initLearningRate"], tuning.name) == (0.004, "fine-tuning-0.004-5")
    assert (rival.experiment["initLearningRate"], rival.name) == (0.01, "new-heads-5")


def test_results_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "spec.yaml").write_text("seed: 6\n")
    with pytest.raises(SystemExit, match="other settings"):
        metrics_by_step(Run("base", "base", {"seed": 5}), tmp_path)
