"""Workspace of a local run in object storage, and the place of its state."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from maskrcnn_operator.local.store_workspace import StoreOptions, StoreWorkspace, default_state_dir, workspace_of
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl

URL = ObjectUrl("s3", "bucket", "prefix")
DIGEST = hashlib.sha256(b"s3://bucket/prefix").hexdigest()


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        ({}, "/home/me/.local/state"),
        ({"XDG_STATE_HOME": "/states"}, "/states"),
        ({"XDG_STATE_HOME": ""}, "/home/me/.local/state"),
        ({"XDG_STATE_HOME": "relative"}, "/home/me/.local/state"),
    ],
)
def test_default_state_directory(environ: dict[str, str], home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert default_state_dir(URL, "shapes", environ) == Path(home, "maskrcnn", DIGEST, "shapes")


def test_user_without_a_home_directory_must_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    with pytest.raises(InvalidInput, match="--state-dir is missing"):
        default_state_dir(URL, "shapes", {})


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (StoreOptions(state_dir=Path("a")), "--state-dir a"),
        (StoreOptions(owner_id="ci"), "--owner-id ci"),
        (StoreOptions(take_over_from="ci/1"), "--take-over-from ci/1"),
    ],
)
def test_option_of_object_storage_is_refused_with_a_directory(options: StoreOptions, flag: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"{flag}: it is for a --workspace in object storage"):
        workspace_of(tmp_path, "shapes", options, {})


def test_state_directory_without_room_for_patterns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"--state-dir .*a,b: the path must not contain"):
        StoreWorkspace(URL, tmp_path / "a,b")


@pytest.mark.parametrize(
    ("given", "opened"),
    [("/workspace/a/b", "/workspace/a/b"), ("file:///data/a", "/data/a"), ("s3://other/a", "s3://other/a")],
)
def test_path_below_the_workspace_stays_as_written(given: str, opened: str, tmp_path: Path) -> None:
    assert StoreWorkspace(URL, tmp_path).to_local(given) == opened


@pytest.mark.parametrize(
    ("state_dir", "text", "shown"),
    [
        ("/state", "/state/.working/a/b/c: no space left", "/state/.working/a/b/c: no space left"),
        ("/workspace/s", "/workspace/s/.working/a/b/c", "/workspace/s/.working/a/b/c"),
        ("/workspace/s", "see /workspace/s/.logs/b.attempt-1.log", "see /workspace/s/.logs/b.attempt-1.log"),
        ("/workspace/s", "/workspace/s/.working/workspace/b", "/workspace/s/.working/workspace/b"),
        ("/workspace", "/workspace/.working/a/b", "/workspace/.working/a/b"),
        ("/state", "/workspace/a/b/c is damaged", "s3://bucket/prefix/a/b/c is damaged"),
        ("/workspace/s", "/workspace/s/b/c is damaged", "s3://bucket/prefix/s/b/c is damaged"),
    ],
)
def test_message_has_the_url_of_published_files_and_the_path_of_working_ones(
    state_dir: str, text: str, shown: str
) -> None:
    workspace = StoreWorkspace(URL, Path(state_dir))
    assert workspace.in_local_form(workspace.in_manifest_form(text)) == shown


def test_results_have_a_url(tmp_path: Path) -> None:
    assert StoreWorkspace(URL, tmp_path).results_argument("shapes", "train") == "s3://bucket/prefix/shapes/train"
