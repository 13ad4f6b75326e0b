"""Command ``maskrcnn-operator run``, which runs an experiment on this machine."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.api.problems import ManifestError
from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.local.display import Display, LiveDisplay, PlainDisplay, final_tables
from maskrcnn_operator.local.input_variables import input_variables
from maskrcnn_operator.local.notes import crowding, ignored_fields, shared_gpus, unmet_gpus
from maskrcnn_operator.local.paths import LocalWorkspace
from maskrcnn_operator.local.process import trainer_command
from maskrcnn_operator.local.report import end_with_report
from maskrcnn_operator.local.runner import EXIT_INTERRUPTED, LOCAL_SETTINGS, ExperimentOutcome, run_experiment
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_STOPPED, InvalidInput, as_task_error
from maskrcnn_trainer.shared.nvidia import has_nvidia_device
from maskrcnn_trainer.shared.variables import KEY_VARIABLE
from maskrcnn_trainer.shared.version import version
from maskrcnn_trainer.spec.reading import read_text

log = logging.getLogger(__name__)

PLAIN_WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run`` to a parser."""
    parser.add_argument("manifest", type=Path, help="YAML file with a MaskRCNNExperiment")
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path("workspace"),
        metavar="DIR",
        help="directory that the manifest calls /workspace (default: ./workspace)",
    )
    parser.add_argument(
        "--jobs", type=_positive, default=1, metavar="N", help="maximum number of steps to run at a time (default: 1)"
    )
    parser.add_argument(
        "--store-config",
        type=Path,
        metavar="FILE",
        help="YAML file with a list of object stores, for the Secrets that spec.objectStores names",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="directory for copies of inputs that are given by URL (default: MASKRCNN_CACHE, or else "
        "~/.cache/maskrcnn)",
    )
    parser.set_defaults(command=run)


def _positive(text: str) -> int:
    # Python refuses to read more than 4,300 digits
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{one_line(text, 40)!r} isn't a whole number from 1 to 999999999")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        The exit code: 0 if the experiment succeeded, 64 if the manifest, the spec, or the data is invalid, 1 if a step
        failed for another reason, 130 after Ctrl-C, and 143 after SIGTERM.
    """
    # without a terminal, rich assumes 80 columns
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    with _logging(console):
        log.info("maskrcnn-operator %s, Python %s", version(), platform.python_version())
        return run_manifest(
            arguments.manifest,
            arguments.workspace,
            jobs=arguments.jobs,
            console=console,
            trainer=trainer_command(),
            store_config=arguments.store_config,
            cache=arguments.cache,
        )


def run_manifest(
    manifest: Path,
    workspace: Path,
    *,
    jobs: int,
    console: Console,
    trainer: Sequence[str],
    store_config: Path | None = None,
    cache: Path | None = None,
    settings: Settings = LOCAL_SETTINGS,
) -> int:
    """Run the experiment of a manifest; log all problems of the manifest and return 64 if there are any.

    It ends with a report of the experiment, which doesn't affect the exit code.

    Args:
        manifest: YAML file with one experiment.
        workspace: directory that the manifest calls ``/workspace``.
        jobs: maximum number of steps to run at a time.
        console: receives the live table, if it is a terminal, the final tables, and the path of the report.
        trainer: the command ``maskrcnn``.
        store_config: YAML file with a list of object stores, or None.
        cache: directory for copies of inputs that are given by URL; None for the default.
        settings: limits of the reconciliation; ``jobs`` replaces ``max_parallel_steps``.

    Returns:
        The exit code, see :func:`run`.
    """
    try:
        experiment = _without_problems(read_manifest(read_text(manifest, "the manifest")))
        place = LocalWorkspace(workspace)
        key = _key(experiment)
        _refuse_suspended(experiment)
        inputs = input_variables(experiment.spec, os.environ, store_config=store_config, cache=cache)
        _log_notes(experiment, jobs)
        with contextlib.closing(_display(console, experiment, place)) as display:
            outcome = run_experiment(
                experiment,
                place,
                display,
                trainer=trainer,
                key=key,
                inputs=inputs,
                settings=replace(settings, max_parallel_steps=jobs),
            )
    except ManifestError as error:
        for problem in error.problems:
            log.error("%s: %s", manifest, problem)
        return EXIT_INVALID
    except InvalidInput as error:
        log.error("%s", error)
        return EXIT_INVALID
    except OSError as error:
        explained = as_task_error(error)
        log.error("--workspace %s cannot be used: %s", workspace, explained or error.strerror)
        return explained.exit_code if explained else EXIT_INVALID
    _show_end(console, experiment, outcome, place)
    end_with_report(experiment.name, outcome, place, console, trainer=trainer, inputs=inputs)
    return outcome.exit_code


def _without_problems(experiment: MaskRCNNExperiment) -> MaskRCNNExperiment:
    """Return the experiment unchanged.

    Raises:
        ManifestError: the steps contradict each other, so that none of them could start.
    """
    problems = resolve(experiment).problems
    if problems:
        raise ManifestError(problems)
    return experiment


def _key(experiment: MaskRCNNExperiment) -> str | None:
    key = os.environ.get(KEY_VARIABLE) or None
    if experiment.spec.encryption_key_secret_ref is None:
        if key is not None:
            log.warning("%s is set, but spec.encryptionKeySecretRef isn't: models won't be encrypted", KEY_VARIABLE)
        return None
    if key is None:
        raise InvalidInput(f"spec.encryptionKeySecretRef: a local run reads no Secrets; set {KEY_VARIABLE} to the key")
    return key


def _refuse_suspended(experiment: MaskRCNNExperiment) -> None:
    if experiment.spec.suspend:
        raise InvalidInput("spec.suspend is true, so no step would run: set it to false")


def _log_notes(experiment: MaskRCNNExperiment, jobs: int) -> None:
    for note in ignored_fields(experiment):
        log.info("%s", note)
    has_device = has_nvidia_device()
    warnings = (
        *unmet_gpus(experiment, has_device=has_device),
        *shared_gpus(experiment, jobs=jobs, has_device=has_device),
        *crowding(experiment, len(os.sched_getaffinity(0))),
    )
    for warning in warnings:
        log.warning("%s", warning)


def _display(console: Console, experiment: MaskRCNNExperiment, place: LocalWorkspace) -> Display:
    if console.is_terminal:
        return LiveDisplay(console, f"experiment {experiment.name}", place.in_local_form)
    return PlainDisplay(place.in_local_form)


def _show_end(
    console: Console, experiment: MaskRCNNExperiment, outcome: ExperimentOutcome, place: LocalWorkspace
) -> None:
    for table in final_tables(experiment, outcome.status, outcome.logs, place.in_local_form):
        console.print(table)
    if outcome.exit_code in (EXIT_INTERRUPTED, EXIT_STOPPED):
        log.warning("Stopped; to resume, run the same command again")
    failed = [step.name for step in outcome.status.steps if step.state is StepState.FAILED]
    stalled = outcome.status.condition("Stalled")
    if failed:
        # the warnings and the table above give the reasons
        log.error("Failed: %s", ", ".join(failed))
    elif stalled is not None:
        for line in stalled.message.splitlines():
            log.error("%s", line)


class _logging:  # noqa: N801 - used as a function
    """Context that writes log lines to the console, above the live table if there is one."""

    def __init__(self, console: Console) -> None:
        handler: Callable[[], logging.Handler] = (
            (lambda: RichHandler(console=console, show_path=False, markup=False))
            if console.is_terminal
            else logging.StreamHandler
        )
        self._handler = handler()
        if not console.is_terminal:
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        self._logger = logging.getLogger("maskrcnn_operator")

    def __enter__(self) -> None:
        self._logger.addHandler(self._handler)
        self._logger.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)
