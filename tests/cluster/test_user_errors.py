"""Errors that users and clusters cause, reported by kubectl or in the status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cluster.bucket import PREFIX, NamespaceBucket
from tests.cluster.experiments import CONVERT, RAW, experiment, local_volume
from tests.cluster.team import Team

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

ONE: list[dict[str, Any]] = [CONVERT[0]]
HUGE = {"requests": {"cpu": "1000"}}
SMALL_TRAINING = {"totalSteps": 2, "numStepsPerEval": 2, "learningRateSteps": [1]}


def convert(**fields: Any) -> list[dict[str, Any]]:
    return [{**CONVERT[0], **fields}]


def test_refused_spec_names_the_field(team: Team) -> None:
    wrong = experiment("wrong", ONE, {"dataConfig": {"imageSize": [100, 128], "numClasses": 4}})
    said = team.cluster.kubectl("apply", "-n", team.namespace, "-f", "-", input=json.dumps(wrong), check=False)
    assert "spec.experiment.dataConfig.imageSize" in said
    assert "multiple" in said
    assert team.status("wrong") == {}


def test_missing_data_stalls_the_experiment_with_its_path(team: Team) -> None:
    task = {**CONVERT[0]["datasetConvert"], "annotationsFile": f"{RAW}/absent.json"}
    team.apply(experiment("absent", convert(datasetConvert=task)))
    stalled = team.wait_stalled("absent")
    step = team.step("absent", "convert-train")
    assert (step["state"], step["exitCode"], step["attempt"]) == ("Failed", 64, 1)
    assert f"{RAW}/absent.json" in step["message"]
    assert "convert-train" in stalled["message"]


def test_image_that_cannot_be_pulled_is_reported_until_the_deadline(team: Team) -> None:
    team.apply(experiment("noimage", ONE, image="nowhere.invalid/trainer:1", preRunningDeadlineSeconds=40))
    named = ("ImagePullBackOff", "ErrImagePull")
    team.wait("the reason", lambda: team.step("noimage", "convert-train").get("reason") in named, 60, of="noimage")
    assert "nowhere.invalid" in team.step("noimage", "convert-train")["message"]
    team.wait_stalled("noimage")
    assert team.step("noimage", "convert-train")["reason"] == "PreRunningDeadlineExceeded"


def test_unschedulable_pod_is_reported_with_the_missing_resource(team: Team) -> None:
    team.apply(experiment("large", convert(resources=HUGE)))

    def is_reported() -> bool:
        return bool(team.step("large", "convert-train").get("reason") == "Unschedulable")

    team.wait("the reason", is_reported, 60, of="large")
    assert "Insufficient cpu" in team.step("large", "convert-train")["message"]


def test_too_little_memory_is_reported(team: Team) -> None:
    few = {"limits": {"memory": "40Mi"}}
    team.apply(experiment("tight", convert(resources=few), maxRestarts=0))
    team.wait_stalled("tight")
    step = team.step("tight", "convert-train")
    assert step["reason"] in ("OutOfMemory", "OOMKilled")
    assert "memory" in step["message"]


def test_full_workspace_is_reported(team: Team) -> None:
    assert team.cluster.bed is not None
    full = team.cluster.create_namespace("full")
    folder = team.cluster.bed.full_folder
    raw = local_volume(f"{full}-raw", full, str(team.folder))
    raw[0]["spec"]["claimRef"]["name"] = raw[1]["metadata"]["name"] = "raw"
    team.cluster.apply(*local_volume(full, full, str(folder)), *raw, namespace=full)
    task = {**CONVERT[0]["datasetConvert"]}
    task |= {"imageDir": "/raw/raw/shapes/images", "annotationsFile": "/raw/raw/shapes/train.json"}
    overrides = {
        "volumes": [{"name": "raw", "persistentVolumeClaim": {"claimName": "raw"}}],
        "volumeMounts": [{"name": "raw", "mountPath": "/raw", "readOnly": True}],
    }
    elsewhere = Team(team.cluster, full, folder)
    elsewhere.apply(experiment("full", convert(datasetConvert=task), maxRestarts=0, podOverrides=overrides))
    elsewhere.wait_stalled("full")
    step = elsewhere.step("full", "convert-train")
    assert (step["reason"], step["exitCode"]) == ("WorkspaceFull", 70)
    team.cluster.kubectl("delete", "namespace", full, "--wait=false")


def test_refused_permission_on_the_bucket_is_reported(bucket: NamespaceBucket) -> None:
    with bucket.refusing():
        bucket.team.apply(bucket.experiment("refused", ONE))
        stalled = bucket.team.wait_stalled("refused")
    step = bucket.team.step("refused", "convert-train")
    assert (step["state"], step["exitCode"], step["attempt"]) == ("Failed", 64, 1)
    assert (step["reason"], stalled["reason"]) == ("StorePermissionDenied", "StorePermissionDenied")
    assert bucket.url in step["message"]
    assert bucket.store.server.keys(bucket.store.container, f"{PREFIX}/refused") == []


def test_wrong_encryption_key_is_reported_without_the_key(team: Team) -> None:
    for name in ("right", "wrong"):
        content = {"metadata": {"name": name}, "stringData": {"key": f"{name}-key"}}
        team.apply({"apiVersion": "v1", "kind": "Secret", **content})
    train = [*CONVERT, {"name": "train", "train": {}}]
    team.apply(experiment("locked", train, SMALL_TRAINING, encryptionKeySecretRef={"name": "right", "key": "key"}))
    model = team.wait_succeeded("locked")["modelPath"]
    steps = [*CONVERT, {"name": "evaluate", "evaluate": {}, "modelPath": model}]
    team.apply(experiment("thief", steps, encryptionKeySecretRef={"name": "wrong", "key": "key"}))
    team.wait_stalled("thief")
    step = team.step("thief", "evaluate")
    assert (step["exitCode"], step["attempt"]) == (64, 1)
    assert "key" in step["message"]
    assert "wrong-key" not in json.dumps(team.status("thief"))
