"""Workspace of a manifest: a claim or a URL, with the field of each mistake."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.unit.api.test_manifest import manifest, problems

from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.workspace import Workspace

CLAIM = {"persistentVolumeClaim": {"claimName": "data"}}
STORAGE = {"url": "s3://results/lab"}


def refused(workspace: dict[str, Any]) -> dict[str, str]:
    found = manifest()
    found["spec"]["workspace"] = workspace
    return problems(found)


def in_storage(**fields: Any) -> dict[str, Any]:
    return {"objectStorage": STORAGE | fields}


def test_claim_has_a_name_and_no_url() -> None:
    found = Workspace.model_validate(CLAIM)
    assert (found.claim_name, found.url) == ("data", None)


def test_object_storage_has_a_url_and_no_claim() -> None:
    found = Workspace.model_validate(in_storage())
    assert (found.claim_name, found.url) == (None, "s3://results/lab")


def test_object_storage_with_all_fields_is_read_back_unchanged() -> None:
    value = manifest()
    value["spec"]["workspace"] = in_storage(takeOverFrom="other/3", scratch={"sizeLimit": "20Gi"})
    experiment = read_object(value)
    assert read_object(yaml.safe_load(yaml.safe_dump(experiment.to_json()))) == experiment


@pytest.mark.parametrize("workspace", [{}, {"subPath": "a"}, CLAIM | in_storage()], ids=["none", "subPath", "both"])
def test_workspace_that_is_not_exactly_one_place_is_refused(workspace: dict[str, Any]) -> None:
    assert refused(workspace) == {
        "spec.workspace": "a workspace has exactly one of persistentVolumeClaim and objectStorage"
    }


@pytest.mark.parametrize(
    ("workspace", "field", "part"),
    [
        (in_storage() | {"subPath": "a"}, "subPath", "write the directory into its url"),
        (in_storage(url="https://b/p"), "objectStorage.url", "must be a URL of an object store"),
        (in_storage(url="file:///data"), "objectStorage.url", "must be a URL of an object store"),
        (in_storage(url="s3://b/p/"), "objectStorage.url", "neither is a slash at the end"),
        (in_storage(url="s3://b/p?a=b"), "objectStorage.url", "a query"),
        (in_storage(url="s3://id:key@b/p"), "objectStorage.url", "user info"),
        (in_storage(url="s3://b/a*,[c]"), "objectStorage.url", "has * , [ ], which has a meaning in file patterns"),
        (in_storage(url="s3://b/p "), "objectStorage.url", "a blank at the end"),
        (in_storage(url="s3://b/\u202ep"), "objectStorage.url", "the invisible character U+202E"),
        (
            in_storage(url="s3://b/" + "\u00e9" * 400),
            "objectStorage.url",
            "has 807 bytes: a workspace can have at most",
        ),
        (in_storage(url=f"s3://b/{'k' * 800}"), "objectStorage.url", "at most 800 characters"),
        (CLAIM | {"subPath": "s3://b/p"}, "subPath", "must be a relative path inside the volume"),
        (in_storage(takeOverFrom="other"), "objectStorage.takeOverFrom", "'other' isn't an owner's id, a slash"),
        (in_storage(takeOverFrom="other/0"), "objectStorage.takeOverFrom", "isn't an owner's id, a slash"),
        (in_storage(scratch={"sizeLimit": "0"}), "objectStorage.scratch.sizeLimit", "at least 1 byte"),
    ],
)
def test_mistake_is_reported_at_its_field(workspace: dict[str, Any], field: str, part: str) -> None:
    (found,) = refused(workspace).items()
    assert (found[0], part in found[1]) == (f"spec.workspace.{field}", True)


def test_secret_in_a_url_is_not_repeated() -> None:
    assert "hunter2" not in str(refused(in_storage(url="s3://id:hunter2@b/p")))
