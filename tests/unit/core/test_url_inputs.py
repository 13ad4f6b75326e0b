"""Steps that read from object stores, and the volumes that a user can't give to them."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.core.desired import resolve

from .conftest import Change, Make, in_a_bucket

STORES = {"objectStores": [{"prefix": "s3://data"}]}


def step(index: int, task: str | None, **fields: Any) -> Change:
    def change(spec: dict[str, Any]) -> None:
        target = spec["steps"][index] if task is None else spec["steps"][index][task]
        target.update(fields)

    return change


def of_experiment(**fields: Any) -> Change:
    return lambda spec: spec["experiment"].update(fields)


def of_data(**fields: Any) -> Change:
    return lambda spec: spec["experiment"]["dataConfig"].update(fields)


READERS = [
    (step(0, "datasetConvert", imageDir="s3://data/raw"), {"convert-train"}),
    (step(3, None, modelPath="gs://data/model.tlt"), {"evaluate"}),
    (step(7, "inference", imageDir="az://data/samples"), {"inference"}),
    (step(8, "export", calibration={"imageDir": "s3://data"}), {"export"}),
    (step(5, None, experiment={"prunedModelPath": "s3://data/pruned.tlt"}), {"retrain"}),
    (
        of_data(trainingFilePattern="/workspace/a-*, s3://data/a-*"),
        {"train", "retrain", "evaluate", "evaluate-pruned", "inference", "export"},
    ),
]


@pytest.mark.parametrize(("change", "steps"), READERS)
def test_step_that_names_a_url_of_a_store_reads_from_it(make: Make, change: Change, steps: set[str]) -> None:
    assert resolve(make(change)).store_readers == steps


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        step(0, "datasetConvert", imageDir="file:///workspace/raw"),
        of_experiment(checkpoint="/workspace/a,s3://data/b"),
        lambda spec: spec.update(cache={"sizeLimit": "1Gi"}),
    ],
    ids=["nothing", "file", "comma", "cache"],
)
def test_paths_and_urls_of_files_are_in_no_store(make: Make, change: Change) -> None:
    assert resolve(make(change)).store_readers == set()


def test_url_that_the_model_of_a_step_replaces_is_not_read(make: Make) -> None:
    found = resolve(make(of_experiment(checkpoint="s3://data/weights.h5"))).store_readers
    assert "train" in found
    assert "retrain" not in found


def test_all_steps_of_an_experiment_in_a_bucket_read_from_it(make: Make) -> None:
    experiment = make(in_a_bucket)
    assert resolve(experiment).store_readers == {step.name for step in experiment.spec.steps}


def test_all_steps_of_an_experiment_with_stores_get_them(make: Make) -> None:
    experiment = make(lambda spec: spec.update(STORES))
    assert resolve(experiment).store_readers == {step.name for step in experiment.spec.steps}


TAKEN = [
    ({"volumes": [{"name": "maskrcnn-cache", "emptyDir": {}}]}, "volumes: found maskrcnn-cache;"),
    ({"volumes": [{"name": "maskrcnn-store-7", "emptyDir": {}}]}, "volumes: found maskrcnn-store-7;"),
    ({"volumeMounts": [{"name": "a", "mountPath": "/var/cache//maskrcnn/"}]}, "volumeMounts: found /var/cache//"),
    (
        {"volumeMounts": [{"name": "a", "mountPath": "/var/run/secrets/maskrcnn-stores/0"}]},
        "volumeMounts: found /var/run/secrets/maskrcnn-stores/0;",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), TAKEN)
def test_volume_or_mount_in_the_place_of_an_input_is_a_problem(
    make: Make, overrides: dict[str, Any], message: str
) -> None:
    (of_all,) = resolve(make(lambda spec: spec.update(STORES, podOverrides=overrides))).problems
    assert str(of_all).startswith(f"spec.podOverrides.{message}")
    (of_one,) = resolve(make(lambda spec: spec.update(STORES), step(2, None, podOverrides=overrides))).problems
    assert str(of_one).startswith(f"spec.steps[2].podOverrides.{message}")


@pytest.mark.parametrize(("overrides", "_"), TAKEN)
def test_volume_or_mount_of_a_step_without_urls_is_accepted(make: Make, overrides: dict[str, Any], _: str) -> None:
    assert resolve(make(lambda spec: spec.update(podOverrides=overrides))).problems == ()


@pytest.mark.parametrize(
    "overrides",
    [
        {"volumes": [{"name": "maskrcnn-caches", "emptyDir": {}}]},
        {"volumeMounts": [{"name": "a", "mountPath": "/var/cache/maskrcnn2"}]},
        {"volumeMounts": [{"name": "a", "mountPath": "/var/cache"}]},
    ],
)
def test_volume_or_mount_next_to_an_input_is_accepted(make: Make, overrides: dict[str, Any]) -> None:
    assert resolve(make(lambda spec: spec.update(STORES, podOverrides=overrides))).problems == ()
