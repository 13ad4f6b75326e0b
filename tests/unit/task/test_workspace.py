"""Mapping of paths between the manifest and this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.shared.variables import WORKSPACE_URL_VARIABLE
from maskrcnn_trainer.task.staged_inputs import StagedInputs, use_staged_inputs
from maskrcnn_trainer.task.workspace import is_in_store, is_path, manifest_path, manifest_paths, real_path, staged_copy


def test_without_a_local_workspace_paths_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASKRCNN_WORKSPACE", raising=False)
    assert real_path("/workspace/a") == Path("/workspace/a")
    assert manifest_path("/somewhere/a") == "/somewhere/a"


def test_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_WORKSPACE", "/home/me/ws")
    for manifest, real in (
        ("/workspace", "/home/me/ws"),
        ("/workspace/raw/train.json", "/home/me/ws/raw/train.json"),
        ("/workspaces/other", "/workspaces/other"),
        ("/data/x", "/data/x"),
    ):
        assert str(real_path(manifest)) == real
        assert manifest_path(real) == manifest


def test_every_string_of_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_WORKSPACE", "/ws")
    value = {"a": "/ws/x,/ws/y", "b": ["/ws", 3, None], "c": "plain, text", "d": {"e": ("/elsewhere",)}}
    assert manifest_paths(value) == {
        "a": "/workspace/x,/workspace/y",
        "b": ["/workspace", 3, None],
        "c": "plain, text",
        "d": {"e": ["/elsewhere"]},
    }


@pytest.mark.parametrize(
    ("written", "path", "in_store"),
    [
        ("/workspace/a", False, True),
        ("/workspace", False, True),
        ("/workspaces/a", True, False),
        ("/data/a", True, False),
        ("s3://b/a", False, True),
        ("file:///a", False, False),
    ],
)
def test_inputs_in_a_workspace_by_url_are_in_object_storage(
    monkeypatch: pytest.MonkeyPatch, written: str, path: bool, in_store: bool
) -> None:
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://b/ws")
    assert (is_path(written), is_in_store(written)) == (path, in_store)


def test_inputs_in_a_workspace_that_is_a_directory_are_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE_URL_VARIABLE, raising=False)
    assert is_path("/workspace/a")
    assert not is_in_store("/workspace/a")


def test_copy_of_an_input_is_found_by_its_place_in_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MASKRCNN_WORKSPACE", "/copies")
    (tmp_path / "m.tlt").touch()
    use_staged_inputs(StagedInputs(urls={str(tmp_path): "/workspace/exp/train"}))
    try:
        assert staged_copy(Path("/copies/exp/train/m.tlt")) == tmp_path / "m.tlt"
        assert staged_copy(Path("/copies/exp/train/other.tlt")) is None
    finally:
        use_staged_inputs(StagedInputs())
