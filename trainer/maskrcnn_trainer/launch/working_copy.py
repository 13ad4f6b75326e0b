"""Working copy of a step whose results are in object storage: its directory, and its names for the task."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.connection import is_in_pod
from maskrcnn_trainer.shared.object_url import is_url
from maskrcnn_trainer.shared.variables import RESULTS_DIR_VARIABLE
from maskrcnn_trainer.spec.url_fields import OUTPUT_FLAGS
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import make_directory
from maskrcnn_trainer.task.stored_step import StoredStep

_ALSO_READ = frozenset({"--cal-cache-file", "--cal-data-file"})
"""Flags for files that several steps may share: they are read if they exist."""


@contextmanager
def working_copy(stored: StoredStep) -> Iterator[Path]:
    """Return the directory that has the experiments' working copies."""
    if stored.working_dir is not None:
        yield make_directory(Path(stored.working_dir).absolute())
        return
    with tempfile.TemporaryDirectory(prefix="maskrcnn-results-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def outlasts_attempt(stored: StoredStep, environ: Mapping[str, str]) -> bool:
    """Return whether the next attempt finds the working copy: neither a temporary directory nor a pod's emptyDir."""
    return stored.working_dir is not None and not is_in_pod(environ)


def make_room_for_log(environment: TaskEnvironment, stored: StoredStep) -> None:
    """Create the directory of the termination log if it lies in the working copy, as without a cluster."""
    if environment.termination_log is None or stored.working_dir is None:
        return
    file = Path(environment.termination_log).absolute()
    if file.is_relative_to(Path(stored.working_dir).absolute()):
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)


def refuse_other_outputs(task: tuple[str, ...], stored: StoredStep) -> None:
    """Refuse a flag for results whose value isn't the step, where alone the task may write, and what is published.

    Raises:
        InvalidInput: there is one.
    """
    flags = frozenset(OUTPUT_FLAGS.get(task[0], ())) - _ALSO_READ
    for argument, following in zip(task, (*task[1:], ""), strict=True):
        flag, equals, value = argument.partition("=")
        value = value if equals else following
        if flag.replace("_", "-") in flags and value and not _is_of_step(value, stored):
            # a URL may have a key of the user in it
            shown = "the value" if is_url(value) else repr(value)
            raise InvalidInput(
                f"{flag}: {shown} must be the URL of {RESULTS_DIR_VARIABLE} ({stored.url}), or lie below it",
                reason="InvalidCommandLine",
            )


def _is_of_step(value: str, stored: StoredStep) -> bool:
    """Return whether a URL or a path is that of the step's results, or below it."""
    if ".." in value.split("/"):
        return False
    if any(value == above or value.startswith(f"{above}/") for above in (stored.url, stored.manifest_dir)):
        return True
    if is_url(value) or stored.working_dir is None:
        return False
    return Path(value).absolute().is_relative_to(Path(stored.working_dir, stored.experiment, stored.step).absolute())


def local_task(task: tuple[str, ...], stored: StoredStep, results_dir: Path) -> tuple[str, ...]:
    """Return a task with the path of the working copy in those arguments that name the results directory.

    They name it by its URL or below ``/workspace``, alone or after the ``=`` of a flag, and may continue below it.
    """

    def local(value: str) -> str:
        for written in (stored.url, stored.manifest_dir):
            if value == written or value.startswith(f"{written}/"):
                return f"{results_dir}{value[len(written) :]}"
        return value

    def replaced(argument: str) -> str:
        flag, equals, value = argument.partition("=")
        return f"{flag}={local(value)}" if equals and flag.startswith("-") else local(argument)

    return tuple(replaced(argument) for argument in task)


@contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process within a block."""
    earlier = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
