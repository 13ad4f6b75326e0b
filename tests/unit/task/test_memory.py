"""Memory that is left, for both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.task.memory import container_memory_left, memory_left

ABSENT = Path("/absent")


def write_version_2(root: Path, limit: str) -> None:
    (root / "memory.max").write_text(f"{limit}\n")
    (root / "memory.current").write_text("700\n")
    (root / "memory.stat").write_text("anon 500\nfile 900\ninactive_file 120\nactive_file 30\nshmem 50\n")


def write_version_1(root: Path, limit: int) -> None:
    memory = root / "memory"
    memory.mkdir()
    (memory / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (memory / "memory.usage_in_bytes").write_text("700\n")
    (memory / "memory.stat").write_text(
        "inactive_file 1\nactive_file 2\ntotal_inactive_file 120\ntotal_active_file 30\n"
    )


def test_cached_files_count_as_free_under_version_2(tmp_path: Path) -> None:
    write_version_2(tmp_path, "1000")
    assert container_memory_left(tmp_path) == 1000 - 700 + 150


def test_cached_files_of_all_children_count_as_free_under_version_1(tmp_path: Path) -> None:
    write_version_1(tmp_path, 1000)
    assert container_memory_left(tmp_path) == 1000 - 700 + 150


def test_container_without_a_limit_has_none(tmp_path: Path) -> None:
    write_version_2(tmp_path, "max")
    assert container_memory_left(tmp_path) is None
    assert memory_left(tmp_path, ABSENT) is None


def test_container_above_a_lowered_limit_has_nothing_left(tmp_path: Path) -> None:
    write_version_2(tmp_path, "100")
    assert container_memory_left(tmp_path) == 0


@pytest.mark.parametrize(("available", "left"), [("1 kB", 450), ("0 kB", 450), ("", 450)])
def test_limit_counts_where_the_machine_has_more_or_is_unknown(tmp_path: Path, available: str, left: int) -> None:
    write_version_2(tmp_path, "1000")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:  9 kB\nMemAvailable:   {available}\n")
    assert memory_left(tmp_path, meminfo) == left


def test_memory_of_the_machine_counts_where_it_is_less(tmp_path: Path) -> None:
    write_version_2(tmp_path, "1000000")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       99 kB\nMemAvailable:        9 kB\n")
    assert memory_left(tmp_path, meminfo) == 9 * 1024
    assert memory_left(ABSENT, meminfo) == 9 * 1024
