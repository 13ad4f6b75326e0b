"""Number of CPUs by affinity and by quota, for both versions of cgroups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn_trainer.shared.variables import THREADS_VARIABLE
from maskrcnn_trainer.task.cpus import cgroup_quota, task_threads, threads_per_process, usable_cpus


def test_version_2(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cgroup_quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cgroup_quota(tmp_path) is None


def test_version_1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("400000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cgroup_quota(tmp_path) == 4.0
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert cgroup_quota(tmp_path) is None


def test_machine_without_cgroup_has_no_quota(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path) is None


def test_the_lesser_counts_and_a_fraction_is_rounded_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert usable_cpus(tmp_path) == 8
    (tmp_path / "cpu.max").write_text("250000 100000")
    assert usable_cpus(tmp_path) == 3
    (tmp_path / "cpu.max").write_text("6400000 100000")
    assert usable_cpus(tmp_path) == 8


@pytest.mark.parametrize(("processes", "wanted", "threads"), [(1, None, 8), (3, None, 2), (16, None, 1), (2, 5, 5)])
def test_division(processes: int, wanted: int | None, threads: int) -> None:
    assert threads_per_process(processes, wanted, cpus=8) == threads


@pytest.mark.parametrize("share", ["", "0", "-1", "x", "²", "99999999999", "9" * 5000])
def test_invalid_number_of_threads_is_ignored(share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, share)
    assert task_threads() == usable_cpus()
