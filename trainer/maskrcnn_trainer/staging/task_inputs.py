"""Inputs of a command by URL: flags of the stores, and the staging before the command runs."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import InvalidInput, TaskError
from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.shared.variables import CACHE_LIMIT_VARIABLE, CACHE_VARIABLE, OBJECT_STORES_VARIABLE
from maskrcnn_trainer.spec import ExperimentSpec, load_spec
from maskrcnn_trainer.spec.errors import Path as SpecPath
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec, local_stores, stores_from_json, stores_to_json
from maskrcnn_trainer.spec.store_config import read_store_config, stores_of_manifest
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.url_fields import SPEC_URLS, InputKind
from maskrcnn_trainer.staging.display import LOADING, StagingDisplay
from maskrcnn_trainer.staging.input_staging import InputStaging, StagingSettings
from maskrcnn_trainer.staging.needed_objects import Companions
from maskrcnn_trainer.staging.work import UrlInput
from maskrcnn_trainer.staging.workspace_inputs import WorkspaceInStore
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.reporter import Reporter, preparation_report
from maskrcnn_trainer.task.staged_inputs import staged_path
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.task.workspace import is_in_store, is_path

TRAINING_PATTERN: SpecPath = ("data_config", "training_file_pattern")
VALIDATION_FIELDS: tuple[SpecPath, ...] = (
    ("data_config", "validation_file_pattern"),
    ("data_config", "val_json_file"),
)

StageInputs = Callable[[argparse.Namespace, "CommandInputs"], None]
"""Stages the inputs of a command, and replaces its arguments that are URLs by paths."""


def add_store_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--store-config`` and ``--cache`` to a command that takes URLs."""
    group = parser.add_argument_group("inputs by URL")
    group.add_argument(
        "--store-config", metavar="FILE", help="object stores: a list as in spec.objectStores, with secretDir"
    )
    group.add_argument(
        "--cache",
        metavar="DIR",
        help="directory for copies of inputs by URL, which several tasks may share (default: maskrcnn/ in the user's "
        "cache folder)",
    )


@dataclass(frozen=True)
class Argument:
    """Argument of a command that may be a URL.

    Attributes:
        name: in the parsed arguments.
        kind: of the input.
        flag: for messages.
        is_read: see `UrlInput`.
        companions: see `UrlInput`.
    """

    name: str
    kind: InputKind
    flag: str
    is_read: Callable[[str], bool] | None = None
    companions: Companions | None = None


class CommandInputs:
    """Inputs of a command, some of them by URL.

    Args:
        staging: of the inputs by URL.
    """

    def __init__(self, staging: InputStaging) -> None:
        self._staging = staging

    def replace(self, arguments: argparse.Namespace, *given: Argument, others: Sequence[UrlInput] = ()) -> None:
        """Stage the inputs of arguments that are by URL, and replace the arguments by paths.

        All are staged at once, so that their space is checked before any is loaded.

        Args:
            arguments: of the command, changed in place.
            given: arguments that may be URLs.
            others: further inputs.
        """
        values = {one: getattr(arguments, one.name, None) for one in given}
        urls = {one: value for one, value in values.items() if isinstance(value, str) and not is_path(value)}
        self.stage(
            *(UrlInput(value, one.kind, one.flag, one.is_read, one.companions) for one, value in urls.items()), *others
        )
        for one, value in urls.items():
            setattr(arguments, one.name, staged_path(value))

    def stage(self, *inputs: UrlInput) -> None:
        """Stage those of some inputs that are in object storage."""
        self._staging.stage(one for one in inputs if is_in_store(one.written))

    def spec(self, arguments: argparse.Namespace, *, trains: bool = False) -> ExperimentSpec | None:
        """Stage the experiment spec of ``-e``, and return it if it may have inputs in object storage.

        Raises:
            SpecError, InvalidInput: the spec is invalid.
        """
        self.replace(arguments, Argument("experiment_spec", InputKind.FILE, "-e"))
        try:
            text = Path(arguments.experiment_spec).read_bytes()
        except OSError:
            return None  # the task has the message
        # a text in quotes may have escapes
        if b":/" not in text and b"\\" not in text and not is_in_store(WORKSPACE_MOUNT):
            return None
        spec = load_spec(arguments.experiment_spec, quiet=True, trains=trains)
        self._staging.use_stores_of(stores_of_manifest(arguments.experiment_spec))
        return spec


def inputs_of_spec(spec: ExperimentSpec | None, *fields: SpecPath) -> list[UrlInput]:
    """Return the inputs of some fields of the spec, by URL and others.

    Args:
        spec: None has none.
        fields: among those of ``SPEC_URLS``.
    """
    found: list[UrlInput] = []
    for path in fields:
        value: Any = spec
        for name in path:
            value = getattr(value, str(name), None)
        if not isinstance(value, str):
            continue
        kind = SPEC_URLS[path]
        separate = value.split(",") if kind is InputKind.PATTERNS else [value]
        companions = checkpoint_companions if path == ("checkpoint",) else None
        found += [UrlInput(one.strip(), kind, dotted(path), None, companions) for one in separate]
    return found


def checkpoint_companions(name: str) -> str | None:
    """Return the beginning of the names of a TensorFlow checkpoint's files; None for other files."""
    stem, _, last = name.rpartition(".")
    if stem and (last in ("index", "meta") or last.startswith("data-")):
        return f"{stem}."
    return f"{name}." if ".ckpt" in name else None


def model_companions(name: str) -> str | None:
    """Return the beginning of the name of an engine's description; None for models that describe themselves."""
    return None if name.endswith((".tlt", ".etlt", ".onnx")) else f"{name}.json"


@contextlib.contextmanager
def inputs_staged(
    arguments: argparse.Namespace, stage: StageInputs, task: TaskName | None, *, rank: int = 0
) -> Iterator[None]:
    """Stage the inputs of a command by URL; its arguments have paths within the block.

    Args:
        arguments: of the command, changed in place.
        stage: stages its inputs.
        task: whose progress is reported; None for a command without reports.
        rank: of this process, or of the node whose processes follow; others than 0 don't report.

    Raises:
        InvalidInput, CacheFull, TryAgain, Stopped: see :meth:`InputStaging.stage`.
        SystemExit: the same, after it was reported.
    """
    with contextlib.ExitStack() as copies:
        with contextlib.ExitStack() as preparation:
            stop = preparation.enter_context(StopRequest())
            reports = _Reports(preparation, task, rank)
            display = StagingDisplay(reports.begin)
            preparation.callback(display.close)
            staging = InputStaging(staging_settings(arguments), display, stop=lambda: stop.asked)
            copies.enter_context(staging)
            try:
                stage(arguments, CommandInputs(staging))
            except TaskError:
                reports.begin()
                raise
            finally:
                staging.close_connections()
            stop.check()
        if staging.settings.workspace is not None:
            copies.enter_context(_handed_on(staging.settings))
        yield


@contextlib.contextmanager
def _handed_on(settings: StagingSettings) -> Iterator[None]:
    """Hand the stores and the cache of a command line on to processes that are started within the block.

    The report of an evaluation reads the results of other steps.
    """
    variables = {
        OBJECT_STORES_VARIABLE: stores_to_json(settings.stores),
        CACHE_VARIABLE: str(settings.cache.absolute()),
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Reports:
    """Reports of a preparation, which begin once there is something to report."""

    def __init__(self, stack: contextlib.ExitStack, task: TaskName | None, rank: int) -> None:
        self._stack = stack
        self._task = task
        self._rank = rank
        self._reporter: Reporter | None = None

    def begin(self) -> Reporter | None:
        """Return the writer of the records; None for a command that has none, or without a directory for them."""
        environment = TaskEnvironment.from_environ()
        if self._reporter is None and self._task is not None and environment.results_dir is not None:
            self._reporter = self._stack.enter_context(
                preparation_report(
                    self._task, environment.results_dir, environment, started=f"{LOADING}.", rank=self._rank
                )
            )
        return self._reporter


def staging_settings(arguments: argparse.Namespace) -> StagingSettings:
    """Return the settings of a command's flags and of the environment.

    Raises:
        InvalidInput: a file or a variable is invalid.
    """
    environment = os.environ
    stores = _stores(getattr(arguments, "store_config", None), environment)
    limit = environment.get(CACHE_LIMIT_VARIABLE) or None
    if limit is not None and not (limit.isascii() and limit.isdecimal()):
        raise InvalidInput(f"{CACHE_LIMIT_VARIABLE}: {limit!r} must be a whole number of bytes")
    cache = getattr(arguments, "cache", None) or environment.get(CACHE_VARIABLE) or None
    return StagingSettings(
        stores,
        Path(cache) if cache else default_cache(),
        int(limit) if limit is not None else None,
        WorkspaceInStore.from_environ(environment),
        environment,
    )


def stores_of_command(command: Sequence[str], environment: Mapping[str, str]) -> tuple[ObjectStoreSpec, ...]:
    """Return the stores of ``--store-config`` in a command, else those of the environment.

    Args:
        command: name of a task and its arguments, which the task itself checks.
        environment: environment variables.

    Raises:
        InvalidInput: the file or the variable is invalid.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--store-config", "--store_config")
    try:
        given = parser.parse_known_args(command)[0].store_config
    except argparse.ArgumentError:
        given = None
    return _stores(given, environment)


def _stores(config: str | None, environment: Mapping[str, str]) -> tuple[ObjectStoreSpec, ...]:
    if config is not None:
        return local_stores((), read_store_config(config))
    text = environment.get(OBJECT_STORES_VARIABLE)
    return stores_from_json(text) if text else ()


def default_cache() -> Path:
    """Return the directory of the copies without ``--cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskrcnn"
