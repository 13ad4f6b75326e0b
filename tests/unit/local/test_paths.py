"""Paths and URLs of a manifest on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_operator.local.paths import LocalWorkspace


@pytest.mark.parametrize(
    ("given", "local"),
    [
        ("/workspace/a", "{}/a"),
        ("file:///workspace/a%20b", "{}/a%20b"),
        ("file:///data/a", "/data/a"),
        ("/data/a", "/data/a"),
        ("s3://workspace/a", "s3://workspace/a"),
        ("/workspace2/a", "/workspace2/a"),
    ],
)
def test_path_and_url_of_a_file_are_local_and_other_urls_are_unchanged(given: str, local: str, tmp_path: Path) -> None:
    assert LocalWorkspace(tmp_path).to_local(given) == local.format(tmp_path)
