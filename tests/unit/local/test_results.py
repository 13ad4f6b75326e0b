"""Reading of ``result.json``, including damaged ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_operator.local.paths import LocalWorkspace
from maskrcnn_operator.local.results import finished_result


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


def test_named_pipe_is_not_a_result_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "result.json")
    assert finished_result(tmp_path, ["a8c47326caeee986b816f946d049d9ad-v1"], LocalWorkspace(tmp_path)) is None
