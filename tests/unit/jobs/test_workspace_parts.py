"""Pods of an experiment whose workspace is in object storage."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.jobs.manifests import job_manifest
from maskrcnn_operator.jobs.names import ANNOTATION_TAKE_OVER_FROM
from maskrcnn_operator.jobs.observe import observe
from maskrcnn_operator.jobs.parse import job_view, pod_view
from maskrcnn_trainer.launch.store_results import step_identity
from maskrcnn_trainer.object_store.fence.exchange_types import AnothersOwner, FenceOutcome, run_decision
from maskrcnn_trainer.object_store.fence.ownership import OwnedPrefix, OwnershipTerms, own_prefix
from maskrcnn_trainer.shared.owner_state import OwnerState
from maskrcnn_trainer.task.environment import TaskEnvironment

from .conftest import Change, Make, at, job_object, pod_object
from .test_manifests import CONFIG, SETTINGS, container, pod, starts, the_job
from .test_store_parts import environment, mounts, volumes

GOLDEN = Path(__file__).with_name("golden-bucket") / "train.yaml"
STORED = replace(CONFIG, owner_id=SETTINGS.owner_id)


def bucket(url: str = "s3://lab/results", **fields: Any) -> Change:
    stores = [{"prefix": "s3://lab", "secretRef": {"name": "store-keys"}}]
    return lambda spec: spec.update(workspace={"objectStorage": {"url": url, **fields}}, objectStores=stores)


def created(experiment: MaskRCNNExperiment, **metadata: str) -> MaskRCNNExperiment:
    """Return an experiment with a time of its creation, as the API server gives it one."""
    changes = {"creation_timestamp": at(0), **metadata}
    return experiment.model_copy(update={"metadata": experiment.metadata.model_copy(update=changes)})


def test_job_of_an_experiment_in_object_storage(make: Make) -> None:
    """Compare with the golden file; MASKRCNN_WRITE_GOLDEN=1 writes it again."""
    job = the_job(created(make(bucket(scratch={"sizeLimit": "20Gi"}))), "train", STORED)
    if os.environ.get("MASKRCNN_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(yaml.safe_dump(job, sort_keys=False, width=120))
    assert yaml.safe_load(GOLDEN.read_text()) == job


def test_no_pod_mounts_a_claim_or_the_workspace(make: Make) -> None:
    experiment = make(bucket())
    for start in starts(experiment).values():
        job = job_manifest(experiment, start, STORED)
        assert "persistentVolumeClaim" not in json.dumps(pod(job)["volumes"])
        assert not [mount for mount in mounts(job).values() if mount["mountPath"].startswith("/workspace")]


@pytest.mark.parametrize(
    ("scratch", "volume", "limit"),
    [
        ({}, {"emptyDir": {}}, None),
        ({"scratch": {}}, {"emptyDir": {}}, None),
        ({"scratch": {"sizeLimit": "1.5Gi"}}, {"emptyDir": {"sizeLimit": "1.5Gi"}}, "1610612736"),
    ],
    ids=["none", "empty", "limit"],
)
def test_task_writes_to_a_volume_of_its_pod_whose_limit_it_knows(
    make: Make, scratch: dict[str, Any], volume: dict[str, Any], limit: str | None
) -> None:
    job = the_job(make(bucket(**scratch)), "train", STORED)
    assert volumes(job)["maskrcnn-scratch"] == volume
    found = environment(job)
    assert mounts(job)["maskrcnn-scratch"] == {"mountPath": found["MASKRCNN_WORKING_DIR"]}
    assert found.get("MASKRCNN_SCRATCH_LIMIT") == limit


def test_results_are_named_by_url_in_the_variable_and_the_command_line(make: Make) -> None:
    job = the_job(make(bucket()), "train", STORED)
    assert environment(job)["MASKRCNN_RESULTS_DIR"] == "s3://lab/results/nuclei/train"
    arguments = container(job)["args"]
    assert arguments[arguments.index("-d") + 1] == "s3://lab/results/nuclei/train"


def annotations_of(job: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = job["metadata"]["annotations"]
    return found


def test_run_has_the_take_over_that_its_job_was_started_with(make: Make) -> None:
    experiment = make(bucket(takeOverFrom="other/3"))
    item = job_object()
    item["metadata"]["annotations"] |= annotations_of(the_job(experiment, "train", STORED))
    [run] = observe(experiment, [job_view(item)], [], at(10)).runs
    assert run.take_over_from == "other/3"


def test_job_without_a_take_over_has_no_annotation_about_one(make: Make) -> None:
    assert ANNOTATION_TAKE_OVER_FROM not in annotations_of(the_job(make(bucket()), "train", STORED))


@pytest.mark.parametrize("value", [None, 7, ["other/3"], {}])
def test_take_over_that_is_not_a_string_counts_as_absent(make: Make, value: object) -> None:
    item = job_object()
    item["metadata"]["annotations"][ANNOTATION_TAKE_OVER_FROM] = value
    [run] = observe(make(bucket()), [job_view(item)], [], at(10)).runs
    assert run.take_over_from == ""


def test_take_over_of_a_run_whose_job_is_gone_is_unknown(make: Make) -> None:
    [run] = observe(make(bucket()), [], [pod_view(pod_object())], at(10)).runs
    assert run.take_over_from is None


def test_whole_bucket_is_a_workspace(make: Make) -> None:
    job = the_job(make(bucket("s3://lab")), "train", STORED)
    assert environment(job)["MASKRCNN_RESULTS_DIR"] == "s3://lab/nuclei/train"


def test_bucket_without_stores_is_reached_with_the_identity_of_the_service_account(make: Make) -> None:
    job = the_job(make(bucket(), lambda spec: spec.update(objectStores=[])), "prune", STORED)
    assert environment(job)["MASKRCNN_OBJECT_STORES"] == "[]"
    assert "maskrcnn-cache" in volumes(job)
    assert not any("secret" in volume for volume in volumes(job).values())


def test_inputs_below_the_workspace_stay_as_they_are_in_the_manifest(make: Make) -> None:
    stored, on_claim = (the_job(make(*change), "evaluate", STORED) for change in ([bucket()], []))
    spec = stored["spec"]["template"]["metadata"]["annotations"]["maskrcnn.dev/spec"]
    assert "/workspace/" in spec
    assert spec == on_claim["spec"]["template"]["metadata"]["annotations"]["maskrcnn.dev/spec"]


def test_task_knows_the_owner_and_the_fingerprints_of_the_steps_that_it_reads(make: Make) -> None:
    experiment = make(bucket())
    start = starts(experiment)["evaluate"]
    found = environment(job_manifest(experiment, start, STORED))
    assert found["MASKRCNN_OWNER_ID"] == "uid-of-the-namespace"
    assert found["MASKRCNN_OWNER_NAMESPACE"] == "lab"
    assert "train" in start.input_fingerprints
    assert json.loads(found["MASKRCNN_INPUT_FINGERPRINTS"]) == {
        step: list(values) for step, values in start.input_fingerprints.items()
    }


@pytest.mark.parametrize("state", ["other-cluster/3", None])
def test_state_to_take_over_is_a_variable(make: Make, state: str | None) -> None:
    job = the_job(make(bucket(**({"takeOverFrom": state} if state else {}))), "train", STORED)
    assert environment(job).get("MASKRCNN_TAKE_OVER_FROM") == state


def test_kubelet_expands_nothing_in_the_url_and_the_owner_to_take_over(make: Make) -> None:
    job = the_job(make(bucket("s3://lab/$(HOME)", takeOverFrom="$(HOME)/1")), "train", STORED)
    assert environment(job)["MASKRCNN_RESULTS_DIR"] == "s3://lab/$$(HOME)/nuclei/train"
    assert environment(job)["MASKRCNN_TAKE_OVER_FROM"] == "$$(HOME)/1"
    assert "s3://lab/$$(HOME)/nuclei/train" in container(job)["args"]


def test_no_job_is_made_while_the_owner_is_unknown(make: Make) -> None:
    with pytest.raises(ValueError, match="owner"):
        the_job(make(bucket()), "train", CONFIG)


def test_pod_with_a_claim_has_no_variable_of_object_storage(make: Make) -> None:
    with_owner, without = (the_job(make(), "train", config) for config in (STORED, CONFIG))
    assert with_owner == without
    assert not {"MASKRCNN_OWNER_ID", "MASKRCNN_WORKING_DIR"} & set(environment(without))


def test_volume_of_a_claim_has_its_sub_path(make: Make) -> None:
    job = the_job(make(lambda spec: spec["workspace"].update(subPath="team/a")), "train", STORED)
    assert mounts(job)["maskrcnn-workspace"] == {"mountPath": "/workspace", "subPath": "team/a"}


def checked_owner(
    experiment: MaskRCNNExperiment, namespace: str, owner_id: str, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> FenceOutcome:
    """Return the outcome of the owner's check by a pod of an experiment in a namespace."""
    there = created(experiment, namespace=namespace, uid=f"{namespace}-uid", name=KEYS.experiment)
    job = job_manifest(there, starts(there)["convert-train"], replace(STORED, owner_id=owner_id))
    for name, value in environment(job).items():
        monkeypatch.setenv(name, value)
    task = TaskEnvironment.from_environ(launches=True)
    assert task.stored_step is not None
    identity = step_identity(task.stored_step, task)
    return run_decision(
        own_prefix(OwnershipTerms(identity.experiment, identity.owner, identity.uid, store="able")), store.send
    )


def test_second_namespace_with_the_same_owner_id_url_and_name_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, experiment = MemoryStore(), make(bucket())
    first = checked_owner(experiment, "team-a", "fleet", store, monkeypatch)
    assert isinstance(first, OwnedPrefix)
    second = checked_owner(experiment, "team-b", "fleet", store, monkeypatch)
    assert isinstance(second, AnothersOwner)
    assert second.record.owner is not None
    assert (second.record.owner.owner_id, second.record.owner.namespace) == ("fleet", "team-a")
    assert second.take_over_from == str(OwnerState("fleet", 1))


def test_same_namespace_of_a_rebuilt_cluster_continues_with_the_owner_id(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, experiment = MemoryStore(), make(bucket())
    assert isinstance(checked_owner(experiment, "team-a", "fleet", store, monkeypatch), OwnedPrefix)
    rebuilt = checked_owner(experiment, "team-a", "fleet", store, monkeypatch)
    assert isinstance(rebuilt, OwnedPrefix)
    assert rebuilt.record.epoch == 1
