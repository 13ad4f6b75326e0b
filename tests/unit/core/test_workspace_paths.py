"""Places in the workspace, as pods use them and as the status shows them."""

from __future__ import annotations

import pytest

from maskrcnn_operator.api.status import Artifact
from maskrcnn_operator.api.workspace import Workspace
from maskrcnn_operator.core.workspace_paths import (
    mounted_place,
    results_url,
    shown_artifact,
    shown_place,
    workspace_place,
)

from .conftest import BUCKET, Make, in_a_bucket

IN_STORAGE = Workspace.model_validate({"objectStorage": {"url": "s3://b/p"}})
CLAIM = Workspace.model_validate({"persistentVolumeClaim": {"claimName": "data"}})


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/workspace/exp/train/model.tlt", "s3://b/p/exp/train/model.tlt"),
        ("/workspace", "s3://b/p"),
        ("/workspaces/a", "/workspaces/a"),
        ("/data/a", "/data/a"),
    ],
)
def test_place_below_the_workspace_is_shown_as_a_url(path: str, shown: str) -> None:
    assert shown_place(path, IN_STORAGE) == shown
    assert mounted_place(shown, IN_STORAGE) == path


def test_neighbor_of_the_url_is_not_in_the_workspace() -> None:
    assert mounted_place("s3://b/plain/a", IN_STORAGE) == "s3://b/plain/a"


def test_paths_on_a_claim_are_shown_as_they_are() -> None:
    assert shown_place("/workspace/a", CLAIM) == mounted_place("/workspace/a", CLAIM) == "/workspace/a"


def test_artifact_keeps_its_size_and_hash() -> None:
    artifact = Artifact(path="/workspace/a", bytes=3, sha256="ab")
    assert shown_artifact(artifact, IN_STORAGE) == Artifact(path="s3://b/p/a", bytes=3, sha256="ab")


@pytest.mark.parametrize(
    ("sub_path", "place"), [("", "data"), ("a/b", "data/a/b"), ("./a//b/", "data/a/b"), (".", "data")]
)
def test_place_of_a_claim_has_its_sub_path_once_however_it_is_spelled(sub_path: str, place: str) -> None:
    assert workspace_place(CLAIM.model_copy(update={"sub_path": sub_path})) == place


def test_place_in_object_storage_is_its_url_alone() -> None:
    found = Workspace.model_validate(
        {"objectStorage": {"url": "s3://b/p", "takeOverFrom": "a/1", "scratch": {"sizeLimit": "1Gi"}}}
    )
    assert workspace_place(found) == "s3://b/p"


def test_workspace_of_a_local_run_has_no_place(make: Make) -> None:
    assert workspace_place(make(in_a_bucket).without_workspace().spec.workspace) is None


def test_results_are_below_the_url_by_experiment_and_step(make: Make) -> None:
    assert results_url(make(in_a_bucket), "train") == f"{BUCKET}/nuclei/train"
    assert results_url(make(), "train") is None
