"""Table of the fields and flags that take a URL in place of a path, and of those that don't.

A new field or flag that names an input is one entry in ``URL_FIELDS``; docs/reference/urls.md has a row for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from maskrcnn_trainer.shared.object_url import is_url, parse_url, pattern_problem, url_problem
from maskrcnn_trainer.shared.variables import RESULTS_DIR_VARIABLE
from maskrcnn_trainer.spec.errors import Path, dotted
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS


class InputKind(StrEnum):
    """Kind of an input, in words for the documentation."""

    FILE = "one object"
    DIRECTORY = "all objects below a prefix"
    FILE_OR_DIRECTORY = "one object, or all below a prefix"
    PATTERNS = "patterns, separated by commas"


@dataclass(frozen=True)
class UrlField:
    """Input that may be a URL.

    Attributes:
        kind: objects that the URL names.
        step: field of a step in the manifest, in snake_case names; empty if it isn't one.
        spec: field of the experiment spec, in snake_case names; empty if it isn't one.
        flags: flags of the command line, in every spelling, by command.
    """

    kind: InputKind
    step: Path = ()
    spec: Path = ()
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def manifest_fields(self) -> tuple[str, ...]:
        """Return its names in a manifest."""
        if self.step:
            return (f"spec.steps[].{dotted(self.step)}",)
        if self.spec:
            return tuple(f"spec.{place}.{dotted(self.spec)}" for place in ("experiment", "steps[].experiment"))
        return ()


_MODEL = ("-m", "--model", "--model-path")
_SPEC = ("-e", "--experiment-spec", "--experiment-spec-file")


def _flags(flags: tuple[str, ...], *tasks: TaskName) -> Mapping[str, tuple[str, ...]]:
    return {task.command: flags for task in tasks}


URL_FIELDS: tuple[UrlField, ...] = (
    UrlField(
        InputKind.DIRECTORY,
        step=("dataset_convert", "image_dir"),
        flags=_flags(("-i", "--image-dir"), TaskName.DATASET_CONVERT),
    ),
    UrlField(
        InputKind.FILE,
        step=("dataset_convert", "annotations_file"),
        flags=_flags(("-a", "--annotations-file"), TaskName.DATASET_CONVERT),
    ),
    UrlField(InputKind.PATTERNS, spec=("data_config", "training_file_pattern")),
    UrlField(InputKind.PATTERNS, spec=("data_config", "validation_file_pattern")),
    UrlField(InputKind.FILE, spec=("data_config", "val_json_file")),
    UrlField(InputKind.FILE, spec=("checkpoint",)),
    UrlField(InputKind.FILE, spec=("checkpoint_config",)),
    UrlField(InputKind.FILE, spec=("pruned_model_path",)),
    UrlField(
        InputKind.FILE,
        step=("model_path",),
        flags=_flags(_MODEL, TaskName.EVALUATE, TaskName.PRUNE, TaskName.INFERENCE, TaskName.EXPORT),
    ),
    UrlField(
        InputKind.FILE_OR_DIRECTORY,
        step=("inference", "image_dir"),
        flags=_flags(("-i", "--image-dir"), TaskName.INFERENCE),
    ),
    UrlField(
        InputKind.FILE,
        step=("inference", "class_map"),
        flags=_flags(("-c", "--class-map"), TaskName.INFERENCE),
    ),
    UrlField(
        InputKind.DIRECTORY,
        step=("export", "calibration", "image_dir"),
        flags=_flags(("--cal-image-dir",), TaskName.EXPORT),
    ),
    UrlField(
        InputKind.FILE,
        flags=_flags(_SPEC, TaskName.TRAIN, TaskName.EVALUATE, TaskName.INFERENCE, TaskName.EXPORT),
    ),
    UrlField(InputKind.DIRECTORY, flags={"report": ("-r", "--results-dir")}),
)
"""Every input that may be a URL."""

OUTPUT_FLAGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{name.command: entry.output_flags for name, entry in TASKS.items()},
        "report": ("-o", "--output"),
        "artifacts URL get": ("-o", "--output"),
    }
)
"""Flags whose value is a path to write, by command; none takes a URL."""

OF_THIS_MACHINE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"decrypt": ("-m", "--model", "-o", "--output"), "spec import": ("SPEC",)}
)
"""Other flags and arguments whose value is a path of this machine, by command; none takes a URL."""

_TASK_COMMANDS = frozenset(name.command for name in TASKS)

STORE_FLAGS = ("--store-config", "--cache")
"""Flags of every command that takes a URL, whose value is a path of this machine."""

SPEC_URLS: Mapping[Path, InputKind] = MappingProxyType({entry.spec: entry.kind for entry in URL_FIELDS if entry.spec})
"""Fields of the experiment spec that take a URL."""

STEP_URLS: Mapping[Path, InputKind] = MappingProxyType({entry.step: entry.kind for entry in URL_FIELDS if entry.step})
"""Fields of a step of the manifest that take a URL."""


def input_problem(value: str, kind: InputKind) -> str | None:
    """Return a sentence about an invalid URL in an input, without any part of the URL.

    Args:
        value: paths or URLs as the user wrote them; several are separated by commas if they are patterns.
        kind: kind of the input.

    Returns:
        None if each URL is valid; paths aren't checked.
    """
    if kind is not InputKind.PATTERNS:
        return _url_problem(value, kind) if is_url(value) else None
    parts = [part.strip() for part in value.split(",") if part.strip()]
    for number, part in enumerate(parts, 1):
        problem = pattern_problem(part) if is_url(part) else None
        if problem:
            return f"pattern {number} of {len(parts)}: {problem}" if len(parts) > 1 else problem
    return None


def output_problem(value: str, *, of_task: bool = False) -> str | None:
    """Return a sentence about a URL in an output, without any part of it; None for a path.

    Args:
        value: of the output.
        of_task: whether ``maskrcnn launch`` can publish it.
    """
    if not is_url(value):
        return None
    if of_task:
        return (
            f"a task can't write to a URL by itself: set {RESULTS_DIR_VARIABLE} to the URL of its step, and start it "
            "by maskrcnn launch -- TASK ..., or give a path"
        )
    return "results can't be written to a URL: give a path, and copy them from there"


def local_problem(value: str) -> str | None:
    """Return a sentence about a URL where only a path of this machine is accepted; None for a path."""
    return "a URL isn't accepted here: give a path of this machine" if is_url(value) else None


def flag_problem(command: str, flag: str, value: str) -> str | None:
    """Return a sentence about a URL on a command line, without any part of it.

    Args:
        command: the command, such as ``dataset_convert``.
        flag: the flag, with hyphens, in any of its spellings, or the name of an argument in capitals.
        value: its value.

    Returns:
        None if the value is a valid URL where one is accepted, or isn't a URL.
    """
    for entry in URL_FIELDS:
        if flag in entry.flags.get(command, ()):
            return input_problem(value, entry.kind)
    if flag in OUTPUT_FLAGS.get(command, ()):
        return output_problem(value, of_task=command in _TASK_COMMANDS)
    if flag in (*OF_THIS_MACHINE.get(command, ()), *STORE_FLAGS):
        return local_problem(value)
    return None


def _url_problem(text: str, kind: InputKind) -> str | None:
    if problem := url_problem(text):
        return problem
    if kind is InputKind.FILE and not parse_url(text, "").key:
        return "the URL names a whole bucket: a key must follow it"
    return None
