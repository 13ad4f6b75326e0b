"""Processes of a shared cache: who lives, and what dead ones leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn_trainer.staging import cache_owner
from maskrcnn_trainer.staging.cache_owner import (
    DEAD_SECONDS,
    OWNERS_DIR,
    REMOVAL_SECONDS,
    CacheOwner,
    file_system_time,
    is_dead,
    is_owner_name,
    remove_dead_owners,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from maskrcnn_trainer.staging.cache_owner import CacheOwner
owner = CacheOwner(Path(sys.argv[1]))
owner.__enter__()
(owner.directory / "staged").mkdir()
os.link(sys.argv[2], owner.directory / "staged" / "image.jpg")
print(owner.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def elsewhere(root: Path, *, age: float, now: float) -> str:
    """Make the directory of a process of another machine, which was last alive some seconds ago."""
    name = f"{'0' * 16}-1-1-{int(age):08x}"
    directory = root / OWNERS_DIR / name
    directory.mkdir(parents=True)
    (directory / "alive").touch()
    os.utime(directory / "alive", (now - age, now - age))
    return name


def test_process_is_alive_until_it_leaves(tmp_path: Path) -> None:
    with CacheOwner(tmp_path) as owner:
        assert is_owner_name(owner.name)
        assert not is_dead(tmp_path, owner.name, now=file_system_time(owner))
    assert not (tmp_path / OWNERS_DIR / owner.name).exists()


def test_killed_process_is_dead_at_once_and_its_links_go(tmp_path: Path) -> None:
    cached = tmp_path / "object"
    cached.write_bytes(b"x")
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(cached)], capture_output=True, text=True, check=False
    )
    name = ran.stdout.strip()
    assert is_owner_name(name), ran.stderr
    assert cached.stat().st_nlink == 2
    with CacheOwner(tmp_path) as owner:
        assert is_dead(tmp_path, name, now=file_system_time(owner))
        assert remove_dead_owners(tmp_path, owner) == 1
        assert cached.stat().st_nlink == 1
        assert {path.name for path in (tmp_path / OWNERS_DIR).iterdir()} == {owner.name}


def test_process_of_another_machine_is_dead_after_two_minutes_of_silence(tmp_path: Path) -> None:
    with CacheOwner(tmp_path) as owner:
        now = file_system_time(owner)
        silent, alive = elsewhere(tmp_path, age=DEAD_SECONDS + 5, now=now), elsewhere(tmp_path, age=60, now=now)
        assert is_dead(tmp_path, silent, now=now)
        assert not is_dead(tmp_path, alive, now=now)


def test_what_a_process_of_another_machine_has_staged_is_removed_after_an_hour(tmp_path: Path) -> None:
    with CacheOwner(tmp_path) as owner:
        now = file_system_time(owner)
        old, silent = (elsewhere(tmp_path, age=age, now=now) for age in (REMOVAL_SECONDS + 5, DEAD_SECONDS + 5))
        assert remove_dead_owners(tmp_path, owner) == 1
        assert [(tmp_path / OWNERS_DIR / name).is_dir() for name in (old, silent)] == [False, True]


def test_age_is_that_of_the_file_systems_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    with CacheOwner(tmp_path) as owner:
        assert abs(file_system_time(owner) - (owner.directory / "alive").stat().st_mtime) < 60


def test_other_directories_are_never_removed(tmp_path: Path) -> None:
    foreign = tmp_path / OWNERS_DIR / "photos"
    foreign.mkdir(parents=True)
    os.utime(foreign, (0, 0))
    with CacheOwner(tmp_path) as owner:
        assert remove_dead_owners(tmp_path, owner) == 0
    assert foreign.is_dir()


def test_number_of_a_process_that_was_used_again_is_not_the_same_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CacheOwner(tmp_path) as owner:
        monkeypatch.setattr(cache_owner, "_started", lambda pid: 7)
        assert is_dead(tmp_path, owner.name, now=file_system_time(owner))
