"""Interrupted loads continue with the parts that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.object_store.client import PART_BYTES, ObjectInfo, parts_of
from maskrcnn_trainer.object_store.loading_record import missing_parts, record_of, record_part

INFO = ObjectInfo("k", 2 * PART_BYTES + 5, "etag")


def test_parts_that_are_recorded_are_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first, second, third = parts_of(INFO, path)
    assert missing_parts(INFO, path) == [first, second, third]
    path.touch()
    record_part(second)
    assert missing_parts(INFO, path) == [first, third]
    record_part(third)
    record_part(first)
    assert not missing_parts(INFO, path)


@pytest.mark.parametrize("end", ["0 16777", "0 16777216", "-1 16777216\n", "0 16777216 7\n", "\0\n", "x y\n"])
def test_lines_that_are_cut_off_or_damaged_are_ignored(tmp_path: Path, end: str) -> None:
    path = tmp_path / "file"
    path.touch()
    record_of(path).write_text(f"{PART_BYTES} {2 * PART_BYTES}\n{end}")
    assert [part.start for part in missing_parts(INFO, path)] == [0, 2 * PART_BYTES]


def test_record_without_its_file_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    record_part(parts_of(INFO, path)[0])
    path.unlink()
    assert len(missing_parts(INFO, path)) == 3
