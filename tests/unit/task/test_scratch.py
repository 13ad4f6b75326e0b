"""Size limit of the working directory: what counts, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import InvalidInput, WorkspaceFull
from maskrcnn_trainer.task.scratch import ScratchLimit, bytes_below

MB = 1_000_000


def test_files_in_folders_count_and_links_do_not_count_twice(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    folders = bytes_below(tmp_path)
    (tmp_path / "a" / "b" / "model").write_bytes(b"x" * MB)
    once = bytes_below(tmp_path)
    os.link(tmp_path / "a" / "b" / "model", tmp_path / "snapshot")
    (tmp_path / "elsewhere").symlink_to("/usr")
    assert MB <= once - folders < 1.1 * MB
    assert bytes_below(tmp_path) - once < 0.1 * MB


def test_directory_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert bytes_below(tmp_path / "absent") == 0


def test_file_within_the_limit_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"x" * MB)
    ScratchLimit(tmp_path, 3 * MB).refuse_beyond(MB)


def test_file_beyond_the_limit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"x" * (1024 * 1024))
    with pytest.raises(
        WorkspaceFull, match=r"1\.0 MB are in use .* needs 2\.5 MB, but the limit is 3\.0 MB"
    ) as refused:
        ScratchLimit(tmp_path, 3 * MB).refuse_beyond(2_500_000)
    assert (refused.value.exit_code, refused.value.reason) == (70, "WorkspaceFull")


@pytest.mark.parametrize("missing", ["MASKRCNN_SCRATCH_LIMIT", "MASKRCNN_WORKING_DIR"])
def test_no_variable_is_no_limit(missing: str) -> None:
    environ = {"MASKRCNN_SCRATCH_LIMIT": "5", "MASKRCNN_WORKING_DIR": "/scratch"}
    assert ScratchLimit.from_environ(environ) == ScratchLimit(Path("/scratch"), 5)
    assert ScratchLimit.from_environ(environ | {missing: ""}) is None


@pytest.mark.parametrize("text", ["20Gi", "-1", "1.5", "²"])
def test_limit_that_is_not_a_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_SCRATCH_LIMIT: .* must be a whole number of bytes"):
        ScratchLimit.from_environ({"MASKRCNN_SCRATCH_LIMIT": text, "MASKRCNN_WORKING_DIR": "/scratch"})
