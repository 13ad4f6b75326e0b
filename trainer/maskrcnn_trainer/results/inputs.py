"""Inputs on the command line of a task, to compare them with directories that are about to be moved."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_trainer.shared.files import read_text
from maskrcnn_trainer.shared.object_url import is_url, local_path
from maskrcnn_trainer.shared.yaml_reading import UNREADABLE_VALUES
from maskrcnn_trainer.spec.reading import load_yaml
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.task.arguments import KEY_FLAGS, SPEC_FLAGS, with_hyphens
from maskrcnn_trainer.task.workspace import real_path

# the command line is not parsed yet, so its task may be unknown: each flag means the same for all tasks that have it
_INPUT_FLAGS = frozenset({*SPEC_FLAGS, *(flag for entry in TASKS.values() for flag in entry.input_flags)})
_NO_INPUT_FLAGS = frozenset({*KEY_FLAGS, *(flag for entry in TASKS.values() for flag in entry.output_flags)})
_QUOTED = re.compile(r"""["']([^"']+)["']""")


@dataclass(frozen=True)
class TaskInput:
    """File, directory, or pattern that a task reads.

    Attributes:
        name: origin of the path, such as ``-i`` or ``trainingFilePattern of -e``.
        path: the path as written there.
    """

    name: str
    path: str


def inputs_of(task: Sequence[str]) -> list[TaskInput]:
    """Return the inputs on this machine that a command line names, including those in its experiment spec.

    An absolute path after a flag that isn't a known output counts as an input. A URL of a file is its path; other URLs
    are left out.
    """
    found: list[TaskInput] = []
    flag = ""
    for argument in with_hyphens(task[1:]):
        name, equals, value = argument.partition("=")
        if argument.startswith("-") and not equals:
            flag = argument
            continue
        flag, value = (name, value) if equals and name.startswith("--") else (flag, argument)
        value = local_path(value) or value
        if is_url(value):
            continue
        if value and flag not in _NO_INPUT_FLAGS and (flag in _INPUT_FLAGS or value.startswith("/")):
            found.append(TaskInput(flag, value))
        if flag in SPEC_FLAGS:
            found += [TaskInput(f"{field} of {flag}", path) for field, path in _paths_in(value)]
    return found


def lies_in(given: TaskInput, directory: Path) -> bool:
    """Return whether an input, or a match of its pattern, is the directory or lies in it, with links resolved."""
    path = str(real_path(given.path))
    if not glob.has_magic(path):
        return _is_in(Path(path), directory)
    folders: dict[Path, bool] = {}
    matches = glob.iglob(path, recursive=True)  # noqa: PTH207 - a pattern may be absolute
    for match in map(Path, itertools.chain([_literal_part(path)], matches)):
        folder = match if match.is_symlink() else match.parent
        if folder not in folders:
            folders[folder] = _is_in(folder, directory)
        if folders[folder]:
            return True
    return False


def holds(given: TaskInput, directory: Path) -> bool:
    """Return whether an input is a directory above ``directory``, which may be absent, with links resolved."""
    path = real_path(given.path)
    try:
        found = path.stat()
    except OSError:
        return False
    return any(_is_same(parent, found) for parent in Path(os.path.realpath(directory)).parents)


def _is_same(path: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), found)
    except OSError:
        return False


def _literal_part(pattern: str) -> str:
    """Return a path in the directory with which a pattern begins."""
    return "/".join([*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.split("/")[:-1]), "any"])


def _is_in(path: Path, directory: Path) -> bool:
    # first with links unresolved: a path through a link in the directory may resolve to a place outside
    if Path(os.path.abspath(path)).is_relative_to(os.path.abspath(directory)):  # noqa: PTH100 - links unresolved
        return True
    try:
        found = directory.stat()
    except OSError:
        return False
    # by inode, not by name: a file system may be mounted twice, or accept two spellings of one name
    real = Path(os.path.realpath(path))
    return any(_is_same(folder, found) for folder in (real, *real.parents))


def _paths_in(spec: str) -> Iterator[tuple[str, str]]:
    """Yield field and path of every absolute path or URL of a file in a spec file; none if that cannot be read.

    A file that isn't YAML may be a prototxt: there a path is in quotes, and its line is given instead of the field.
    """
    try:
        text = read_text(Path(spec))
    except (OSError, ValueError):
        return
    try:
        # the loader of the task: others would fail on dates, for example
        waiting: list[tuple[str, Any]] = [("", document) for document in load_yaml(text)]
    except (*UNREADABLE_VALUES, RecursionError, yaml.YAMLError):
        waiting = [
            (f"line {number}", quoted)
            for number, line in enumerate(text.splitlines(), 1)
            for quoted in _QUOTED.findall(line)
        ]
    while waiting:
        field, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{field}.{key}" if field else str(key), part) for key, part in value.items()]
        elif isinstance(value, list):
            waiting += [(field, part) for part in value]
        elif isinstance(value, str):
            given = (local_path(part.strip()) or part.strip() for part in value.split(","))
            yield from ((field, path) for path in given if path.startswith("/"))
