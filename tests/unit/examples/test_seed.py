"""Manifest of TAO Toolkit's example: it has the values of the specification and the documented tasks."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_trainer.spec import import_spec, read_spec
from maskrcnn_trainer.spec.task_name import TaskName

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "seed"
SAMPLE = FOLDER / "maskrcnn_train_resnet50.txt"
FROM_THE_CONVERSIONS = ("training_file_pattern", "validation_file_pattern", "val_json_file")


def test_manifest_equals_the_specification_except_converted_paths() -> None:
    imported = read_spec(import_spec(SAMPLE).manifest).spec
    written = read_manifest((FOLDER / "experiment.yaml").read_text()).spec.experiment
    for name in type(imported).model_fields:
        if name != "data_config":
            assert getattr(written, name) == getattr(imported, name), name
    for name in type(imported.data_config).model_fields:
        value = getattr(written.data_config, name)
        assert value == (None if name in FROM_THE_CONVERSIONS else getattr(imported.data_config, name)), name


def test_manifest_has_the_documented_tasks_in_order() -> None:
    steps = read_manifest((FOLDER / "experiment.yaml").read_text()).spec.steps
    assert [step.task_name for step in steps] == [
        TaskName.DATASET_CONVERT,
        TaskName.DATASET_CONVERT,
        TaskName.TRAIN,
        TaskName.EVALUATE,
        TaskName.PRUNE,
        TaskName.TRAIN,
        TaskName.EVALUATE,
        TaskName.INFERENCE,
        TaskName.EXPORT,
    ]
    retrain = steps[5].experiment
    assert retrain is not None
    assert retrain.model_dump(exclude_none=True) == {"l1_weight_decay": 0, "l2_weight_decay": 0}
