"""The original toolkit's own example as a manifest: the values of its specification, the tasks of its page."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_trainer.spec import import_spec, read_spec
from maskrcnn_trainer.spec.task_name import TaskName

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "seed"
SAMPLE = FOLDER / "maskrcnn_train_resnet50.txt"
FROM_THE_CONVERSIONS = ("training_file_pattern", "validation_file_pattern", "val_json_file")


def test_the_manifest_has_the_same_values_but_the_paths_that_its_conversions_give() -> None:
    imported = read_spec(import_spec(SAMPLE).manifest).spec
    written = read_manifest((FOLDER / "experiment.yaml").read_text()).spec.experiment
    for name in type(imported).model_fields:
        if name != "data_config":
            assert getattr(written, name) == getattr(imported, name), name
    for name in type(imported.data_config).model_fields:
        value = getattr(written.data_config, name)
        assert value == (None if name in FROM_THE_CONVERSIONS else getattr(imported.data_config, name)), name


def test_the_manifest_has_the_tasks_in_the_order_of_the_page() -> None:
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
