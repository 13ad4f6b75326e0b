"""Template hashes: they cover certain fields of the user's spec, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.experiment import ExperimentBody, Step
from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.core.template import (
    BODY_FIELDS,
    STEP_FIELDS,
    is_another_template,
    template_hashes,
)
from maskrcnn_trainer.spec.task_name import TaskName

from .conftest import MANIFEST, Change, Make

TRAIN = 2
SPEC_READERS = {"train", "evaluate", "retrain", "evaluate-pruned", "inference", "export"}
ALL = {step["name"] for step in MANIFEST["spec"]["steps"]}

MERGED_FIELDS = {"image", "pod_overrides"}
"""Fields of ``spec`` and of a step that are merged for the Job."""
NOT_OF_THE_JOB = {
    # of the experiment as a whole
    "suspend",
    "active_deadline_seconds",
    "pre_running_deadline_seconds",
    "ttl_seconds_after_finished",
    "max_restarts",
    # each step has its own part
    "steps",
    "experiment",
    # the fingerprint covers the task, the model and the revision
    "name",
    "revision",
    "model_from",
    "model_path",
    "depends_on",
    *(field for field, info in Step.model_fields.items() if (info.alias or field) in set(TaskName)),
}


def changed(make: Make, change: Change) -> set[str]:
    """Return the steps whose hash differs after a change of the spec."""
    before, after = template_hashes(make()), template_hashes(make(change))
    return {name for name in ALL if before[name] != after[name]}


def test_every_field_of_the_spec_is_classified() -> None:
    fields = set(ExperimentBody.model_fields) | set(Step.model_fields)
    assert fields == BODY_FIELDS | STEP_FIELDS | MERGED_FIELDS | NOT_OF_THE_JOB
    assert not (BODY_FIELDS | STEP_FIELDS | MERGED_FIELDS) & NOT_OF_THE_JOB


@pytest.mark.parametrize(
    "change",
    [
        {"image": "trainer:2"},
        {"queueName": "other"},
        {"workspace": {"persistentVolumeClaim": {"claimName": "other"}}},
        {"workspace": {"persistentVolumeClaim": {"claimName": "nuclei"}, "subPath": "elsewhere"}},
        {"encryptionKeySecretRef": {"name": "other"}},
        {"objectStores": [{"prefix": "s3://data", "secretRef": {"name": "keys"}}]},
        {"cache": {"sizeLimit": "50Gi"}},
        {"podOverrides": {"nodeSelector": {"gpu": "a100"}}},
        {"podOverrides": {"affinity": {"nodeAffinity": {"of": "kubernetes"}}}},
    ],
)
def test_field_of_every_job_changes_every_hash(make: Make, change: dict[str, Any]) -> None:
    assert changed(make, lambda spec: spec.update(change)) == ALL


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": 3},
        {"gpusPerNode": 3},
        {"processesPerNode": 3},
        {"threadsPerProcess": 3},
        {"resources": {"requests": {"cpu": "3"}}},
        {"resources": {"limits": {"memory": "3Gi"}}},
        {"experiment": {"evalBatchSize": 3}},
        {"image": "trainer:2"},
        {"podOverrides": {"nodeSelector": {"gpu": "a100"}}},
    ],
)
def test_field_of_a_step_changes_the_hash_of_that_step_alone(make: Make, change: dict[str, Any]) -> None:
    assert changed(make, lambda spec: spec["steps"][TRAIN].update(change)) == {"train"}


def test_image_of_the_spec_does_not_change_the_hash_of_a_step_with_its_own(make: Make) -> None:
    def own(spec: dict[str, Any]) -> None:
        spec["steps"][TRAIN]["image"] = "trainer:own"

    def another(spec: dict[str, Any]) -> None:
        own(spec)
        spec["image"] = "trainer:2"

    before, after = template_hashes(make(own)), template_hashes(make(another))
    assert {name for name in ALL if before[name] == after[name]} == {"train"}


def test_empty_list_at_a_step_changes_its_hash(make: Make) -> None:
    """It overrides the list of the spec."""

    def of_the_spec(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {"tolerations": [{"key": "gpu", "operator": "Exists"}]}

    def taken_back(spec: dict[str, Any]) -> None:
        of_the_spec(spec)
        spec["steps"][TRAIN]["podOverrides"] = {"tolerations": []}

    before, after = template_hashes(make(of_the_spec)), template_hashes(make(taken_back))
    assert {name for name in ALL if before[name] != after[name]} == {"train"}


def test_field_of_the_experiment_changes_the_hash_of_steps_that_read_it(make: Make) -> None:
    """The field changes no result, but it is in the spec file of their pods."""
    assert changed(make, lambda spec: spec["experiment"].update(evalBatchSize=3)) == SPEC_READERS


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"maxRestarts": 9},
        {"activeDeadlineSeconds": 9},
        {"preRunningDeadlineSeconds": 9},
        {"ttlSecondsAfterFinished": 9},
    ],
)
def test_field_outside_the_template_changes_no_hash(make: Make, change: dict[str, Any]) -> None:
    assert changed(make, lambda spec: spec.update(change)) == set()


def test_explicit_default_has_the_hash_of_an_absent_field(make: Make) -> None:
    """An API server fills in defaults, also of fields from a later release."""

    def bare(spec: dict[str, Any]) -> None:
        for field in ("image", "queueName", "podOverrides", "encryptionKeySecretRef"):
            spec.pop(field, None)
        for field in ("nodes", "gpusPerNode", "processesPerNode", "resources"):
            spec["steps"][TRAIN].pop(field, None)

    def spelled_out(spec: dict[str, Any]) -> None:
        bare(spec)
        spec |= {"image": "", "queueName": "", "podOverrides": {"env": [], "gpuResource": "nvidia.com/gpu"}}
        spec["workspace"]["subPath"] = ""
        spec["experiment"] |= {"momentum": 0.9, "evalBatchSize": 4}
        spec["steps"][TRAIN] |= {"nodes": 1, "gpusPerNode": 0, "resources": {"requests": {}}}

    assert template_hashes(make(bare)) == template_hashes(make(spelled_out))


def test_hash_does_not_depend_on_the_order_of_keys(make: Make) -> None:
    def turned(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {"nodeSelector": {"b": "2", "a": "1"}, "labels": {"x": "y"}}

    def straight(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {"labels": {"x": "y"}, "nodeSelector": {"a": "1", "b": "2"}}

    assert template_hashes(make(turned)) == template_hashes(make(straight))


def test_version_1_stays_as_it_was_recorded(make: Make) -> None:
    """Queued Jobs keep it during an upgrade: another hash of the same spec would replace them."""
    assert template_hashes(make())["train"] == "1d6615d235ca65385c8d59ebee4b8f84-v1"


def test_quantity_as_a_number_is_the_same_as_its_text() -> None:
    manifest = copy.deepcopy(MANIFEST)
    hashes = []
    for cpu in (8, "8"):
        manifest["spec"]["steps"][TRAIN]["resources"] = {"requests": {"cpu": cpu}}
        hashes.append(template_hashes(read_manifest(yaml.safe_dump(manifest))))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("recorded", "another"), [("", False), ("a-v1", False), ("b-v1", True), ("b-v2", False), ("b", False)]
)
def test_only_a_hash_of_this_version_proves_another_template(recorded: str, another: bool) -> None:
    assert is_another_template(recorded, "a-v1") is another
