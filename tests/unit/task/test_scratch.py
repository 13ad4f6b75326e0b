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
    ScratchLimit(tmp_path, 3 * MB).refuse_checkpoint(MB)
    ScratchLimit(tmp_path, 3 * MB).refuse_loading(MB)


def test_checkpoint_beyond_the_limit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"x" * (1024 * 1024))
    with pytest.raises(
        WorkspaceFull, match=r"1\.0 MB are in use .* needs 2\.5 MB, but the limit is 3\.0 MB"
    ) as refused:
        ScratchLimit(tmp_path, 3 * MB).refuse_checkpoint(2_500_000)
    assert (refused.value.exit_code, refused.value.reason) == (70, "WorkspaceFull")


def test_published_files_beyond_the_limit_are_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(
        WorkspaceFull,
        match=r"0 bytes are in use and the published files to load need 89\.1 MB, but the limit is 300\.0 kB",
    ) as refused:
        ScratchLimit(tmp_path, 300_000).refuse_loading(89_100_000)
    # a smaller keepCheckpoints removes none of the published ones
    assert str(refused.value).endswith("increase sizeLimit of spec.workspace.objectStorage.scratch")


@pytest.mark.parametrize(("size", "shown"), [(999, "999 bytes"), (1_500, "1.5 kB"), (20_000_000_000, "20,000.0 MB")])
def test_number_of_bytes_is_shown_in_a_unit_that_fits(tmp_path: Path, size: int, shown: str) -> None:
    with pytest.raises(WorkspaceFull, match=f"the next checkpoint needs {shown}, but the limit is 5 bytes"):
        ScratchLimit(tmp_path, 5).refuse_checkpoint(size)


@pytest.mark.parametrize("missing", ["MASKRCNN_SCRATCH_LIMIT", "MASKRCNN_WORKING_DIR"])
def test_no_variable_is_no_limit(missing: str) -> None:
    environ = {"MASKRCNN_SCRATCH_LIMIT": "5", "MASKRCNN_WORKING_DIR": "/scratch"}
    assert ScratchLimit.from_environ(environ) == ScratchLimit(Path("/scratch"), 5)
    assert ScratchLimit.from_environ(environ | {missing: ""}) is None


@pytest.mark.parametrize("text", ["20Gi", "-1", "1.5", "²"])
def test_limit_that_is_not_a_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="^MASKRCNN_SCRATCH_LIMIT: .* must be a whole number of bytes"):
        ScratchLimit.from_environ({"MASKRCNN_SCRATCH_LIMIT": text, "MASKRCNN_WORKING_DIR": "/scratch"})
