"""Working files of a local run whose results are in object storage; published ones are read from there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path


def keep_working_files(directory: Path, unfinished: Collection[str]) -> None:
    """Remove the working files of all steps but the unfinished ones, whose next attempts continue with theirs.

    Called while no step runs. Links aren't followed.

    Args:
        directory: working directory of the experiment.
        unfinished: names of the steps.
    """
    for entry in _entries(directory):
        if entry.name not in unfinished:
            _remove(entry)
    _remove_if_empty(directory)


def remove_working_files(directory: Path, step: str) -> None:
    """Remove the working files of a step that has ended with a result, while others may run.

    Args:
        directory: working directory of the experiment.
        step: name of the step; what was moved aside has a dot after it.
    """
    for entry in _entries(directory):
        if entry.name == step or entry.name.removeprefix(".").startswith(f"{step}."):
            _remove(entry)
    _remove_if_empty(directory)


def _entries(directory: Path) -> list[Path]:
    try:
        return [] if directory.is_symlink() else list(directory.iterdir())
    except OSError:
        return []


def _remove(entry: Path) -> None:
    # what can't be removed costs space only, and the next run tries again
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            entry.unlink()


def _remove_if_empty(directory: Path) -> None:
    for empty in (directory, directory.parent):
        with contextlib.suppress(OSError):
            empty.rmdir()
