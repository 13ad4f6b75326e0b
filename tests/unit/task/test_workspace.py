"""Mapping of paths between the manifest and this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.task.workspace import manifest_path, manifest_paths, real_path


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
