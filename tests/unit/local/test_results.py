"""Reading of ``result.json``, including damaged ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_operator.local.paths import LocalWorkspace
from maskrcnn_operator.local.results import finished_result, reported_result
from maskrcnn_operator.local.store_workspace import StoreWorkspace
from maskrcnn_trainer.shared.object_url import ObjectUrl


def result(directory: Path, path: str) -> None:
    content: dict[str, Any] = {
        "version": 1,
        "task": "train",
        "code": 0,
        "fingerprint": "a8c47326caeee986b816f946d049d9ad-v1",
        "attempt": 1,
    }
    (directory / "result.json").write_text(json.dumps(content | {"artifacts": {"model": {"path": path, "bytes": 1}}}))


@pytest.mark.parametrize("path", ["/workspace/**.tlt", "/workspace/gone"])
def test_result_without_its_artifact_is_ignored(tmp_path: Path, path: str) -> None:
    result(tmp_path, path)
    assert finished_result(tmp_path, ["a8c47326caeee986b816f946d049d9ad-v1"], LocalWorkspace(tmp_path)) is None
    (tmp_path / "model.tlt").write_bytes(b"1")
    result(tmp_path, "/workspace/model.tlt")
    assert finished_result(tmp_path, ["a8c47326caeee986b816f946d049d9ad-v1"], LocalWorkspace(tmp_path)) is not None


def test_path_of_a_report_is_that_of_the_manifest(tmp_path: Path) -> None:
    fingerprint = "a8c47326caeee986b816f946d049d9ad-v1"
    content = {"code": 0, "fingerprint": fingerprint, "reportPath": f"{tmp_path}/shapes/evaluate/report.html"}
    (tmp_path / "result.json").write_text(json.dumps(content))
    found = finished_result(tmp_path, [fingerprint], LocalWorkspace(tmp_path))
    assert found is not None
    assert found.report_path == "/workspace/shapes/evaluate/report.html"


def test_full_disk_is_that_of_the_working_file_if_results_go_to_object_storage(tmp_path: Path) -> None:
    """The bucket isn't full."""
    workspace = StoreWorkspace(ObjectUrl("s3", "bucket", "prefix"), tmp_path)
    text = f"{workspace.directory}/shapes/convert/val-00.tfrecord: no space left"
    error = {"reason": "WorkspaceFull", "message": text}
    message = tmp_path / "message.json"
    message.write_text(json.dumps({"code": 70, "fingerprint": "a-v1", "attempt": 1, "error": error}))
    found = reported_result(message, attempt=1, fingerprints=["a-v1"], workspace=workspace)
    assert found is not None
    assert found.message == text
    assert workspace.in_local_form(found.message) == text


def test_named_pipe_is_not_a_result_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "result.json")
    assert finished_result(tmp_path, ["a8c47326caeee986b816f946d049d9ad-v1"], LocalWorkspace(tmp_path)) is None
