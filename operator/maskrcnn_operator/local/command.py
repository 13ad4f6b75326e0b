"""Command ``maskrcnn-operator run``, which runs an experiment on this machine."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.api.problems import ManifestError
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.plan import Event, Settings
from maskrcnn_operator.core.workspace_url_inputs import problems_of_workspace_url
from maskrcnn_operator.local.display import Display, LiveDisplay, PlainDisplay, final_tables
from maskrcnn_operator.local.input_variables import input_variables
from maskrcnn_operator.local.notes import crowding, ignored_fields, owner_to_take_over, shared_gpus, unmet_gpus
from maskrcnn_operator.local.owner_arguments import owner_id_argument, owner_state_argument
from maskrcnn_operator.local.path_arguments import page_argument, workspace_argument
from maskrcnn_operator.local.paths import LocalWorkspace
from maskrcnn_operator.local.process import trainer_command
from maskrcnn_operator.local.report import end_with_report
from maskrcnn_operator.local.retrieval import Retrieval
from maskrcnn_operator.local.runner import (
    EXIT_INTERRUPTED,
    EXIT_STEP_FAILED,
    LOCAL_SETTINGS,
    ExperimentOutcome,
    run_experiment,
)
from maskrcnn_operator.local.store_workspace import StoreOptions, workspace_of
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_STOPPED, InvalidInput, TryAgain, as_task_error
from maskrcnn_trainer.shared.identifiers import IDENTIFIER, IDENTIFIER_FORM
from maskrcnn_trainer.shared.nvidia import has_nvidia_device
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.shared.variables import KEY_VARIABLE, OWNER_ID_VARIABLE
from maskrcnn_trainer.shared.version import version
from maskrcnn_trainer.spec.reading import read_text

log = logging.getLogger(__name__)

PLAIN_WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run`` to a parser."""
    parser.add_argument("manifest", type=Path, help="YAML file with a MaskRCNNExperiment")
    parser.add_argument(
        "--workspace",
        type=workspace_argument,
        default=Path("workspace"),
        metavar="DIR_OR_URL",
        help="directory, or URL of a prefix in object storage, that the manifest calls /workspace (default: "
        "./workspace)",
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
    parser.add_argument(
        "-o",
        "--output",
        type=page_argument,
        metavar="FILE",
        help="page of the report, a .html (default: report.html in the experiment's directory, or in --state-dir)",
    )
    store = parser.add_argument_group("with a workspace in object storage")
    store.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="directory of this experiment's status, lock, and working files (default: "
        "~/.local/state/maskrcnn/HASH/EXPERIMENT, where HASH is the SHA-256 of the workspace's URL; XDG_STATE_HOME "
        "replaces ~/.local/state)",
    )
    store.add_argument(
        "--owner-id",
        type=owner_id_argument,
        metavar="ID",
        help="owner of the results, the same in all runs that may continue each other; of several state directories "
        "with one owner, only the one that was made last continues what isn't finished (default: MASKRCNN_OWNER_ID, or "
        "else a random one that the status keeps)",
    )
    store.add_argument(
        "--take-over-from",
        type=owner_state_argument,
        metavar="ID/EPOCH",
        help="replace this owner of the results, as a refused run names it; it holds for exactly one state of the "
        "owner, and isn't recorded",
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
        failed or the object storage couldn't be read for another reason, 130 after Ctrl-C, and 143 after SIGTERM.
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
            store_options=StoreOptions(arguments.state_dir, arguments.owner_id, arguments.take_over_from),
            output=arguments.output,
        )


def run_manifest(
    manifest: Path,
    workspace: Path | ObjectUrl,
    *,
    jobs: int,
    console: Console,
    trainer: Sequence[str],
    store_config: Path | None = None,
    cache: Path | None = None,
    store_options: StoreOptions = StoreOptions(),  # noqa: B008 - frozen
    output: Path | None = None,
    settings: Settings = LOCAL_SETTINGS,
) -> int:
    """Run the experiment of a manifest; log all problems of the manifest and return 64 if there are any.

    It ends with a report of the experiment, which doesn't affect the exit code.

    Args:
        manifest: YAML file with one experiment.
        workspace: directory, or URL of a prefix in object storage, that the manifest calls ``/workspace``.
        jobs: maximum number of steps to run at a time.
        console: receives the live table, if it is a terminal, the final tables, and the path of the report.
        trainer: the command ``maskrcnn``.
        store_config: YAML file with a list of object stores, or None.
        cache: directory for copies of inputs that are given by URL; None for the default.
        store_options: options of a workspace in object storage.
        output: page of the report; None for its default place.
        settings: limits of the reconciliation; ``jobs`` replaces ``max_parallel_steps``.

    Returns:
        The exit code, see :func:`run`.
    """
    where = f"--workspace {workspace}"
    try:
        given = read_manifest(read_text(manifest, "the manifest"))
        experiment = _without_problems(given.without_workspace(), workspace)
        options = _with_owner(store_options, workspace, os.environ)
        place = workspace_of(workspace, experiment.name, options, os.environ)
        if place.url is not None:
            where = f"--state-dir {place.home(experiment.name)}"
        key = _key(experiment)
        _refuse_missing_directory(output, place.home(experiment.name).absolute())
        _refuse_suspended(experiment)
        inputs = input_variables(experiment.spec, os.environ, store_config=store_config, cache=cache)
        _log_notes(experiment, jobs, in_store=place.url is not None)
        retrieval = None if place.url is None else Retrieval(place.url, store_config)
        with contextlib.closing(_display(console, experiment, place, retrieval)) as display:
            outcome = run_experiment(
                experiment,
                place,
                display,
                trainer=trainer,
                key=key,
                inputs=inputs,
                store_options=options,
                settings=replace(settings, max_parallel_steps=jobs),
            )
    except ManifestError as error:
        for problem in error.problems:
            log.error("%s: %s", manifest, problem)
        return EXIT_INVALID
    except InvalidInput as error:
        log.error("%s", error)
        return EXIT_INVALID
    except TryAgain as error:
        log.error("%s", error)
        return EXIT_STEP_FAILED
    except OSError as error:
        explained = as_task_error(error)
        log.error("%s cannot be used: %s", where, explained or error.strerror)
        return explained.exit_code if explained else EXIT_INVALID
    _show_end(console, experiment, outcome, place, retrieval)
    end_with_report(
        experiment.name,
        outcome,
        place,
        console,
        trainer=trainer,
        inputs=inputs,
        output=output,
        store_config=store_config,
    )
    return outcome.exit_code


def _refuse_missing_directory(output: Path | None, made: Path) -> None:
    """Refuse a page whose directory doesn't exist, which would be noticed only at the end.

    Args:
        output: the page; None for its default place.
        made: directory that the run makes, with those above and below it.

    Raises:
        InvalidInput: the directory neither exists nor may be made by the run.
    """
    folder = None if output is None else output.absolute().parent
    if folder is not None and not folder.is_dir() and not (folder.is_relative_to(made) or made.is_relative_to(folder)):
        raise InvalidInput(f"-o {output}: the directory {folder} doesn't exist; create it, or give another path")


def _with_owner(options: StoreOptions, workspace: Path | ObjectUrl, environ: Mapping[str, str]) -> StoreOptions:
    """Return the options with the owner id of the environment, which a directory as workspace doesn't need.

    Raises:
        InvalidInput: MASKRCNN_OWNER_ID is invalid.
    """
    given = environ.get(OWNER_ID_VARIABLE)
    if not given or options.owner_id is not None or not isinstance(workspace, ObjectUrl):
        return options
    if not IDENTIFIER.fullmatch(given):
        raise InvalidInput(f"{OWNER_ID_VARIABLE}: {one_line(given, 40)!r} isn't {IDENTIFIER_FORM}")
    return replace(options, owner_id=given)


def _without_problems(experiment: MaskRCNNExperiment, workspace: Path | ObjectUrl) -> MaskRCNNExperiment:
    """Return the experiment unchanged.

    Raises:
        ManifestError: the steps contradict each other, so that none of them could start, or an input by URL overlaps
            the workspace.
    """
    problems = resolve(experiment).problems
    if not problems and isinstance(workspace, ObjectUrl):
        problems = tuple(problems_of_workspace_url(experiment, str(workspace)))
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


def _log_notes(experiment: MaskRCNNExperiment, jobs: int, *, in_store: bool) -> None:
    for note in ignored_fields(experiment, in_store=in_store):
        log.info("%s", note)
    has_device = has_nvidia_device()
    warnings = (
        *unmet_gpus(experiment, has_device=has_device),
        *shared_gpus(experiment, jobs=jobs, has_device=has_device),
        *crowding(experiment, len(os.sched_getaffinity(0))),
    )
    for warning in warnings:
        log.warning("%s", warning)


def _display(
    console: Console, experiment: MaskRCNNExperiment, place: LocalWorkspace, retrieval: Retrieval | None
) -> Display:
    def text_of(event: Event) -> str:
        if retrieval is not None and event.reason == Reason.REPORT_WRITTEN.value:
            return retrieval.report_text(event.message)
        return place.in_local_form(event.message)

    if console.is_terminal:
        return LiveDisplay(console, f"experiment {experiment.name}", text_of)
    return PlainDisplay(text_of)


def _show_end(
    console: Console,
    experiment: MaskRCNNExperiment,
    outcome: ExperimentOutcome,
    place: LocalWorkspace,
    retrieval: Retrieval | None,
) -> None:
    for part in final_tables(experiment, outcome.status, outcome.logs, place.in_local_form, retrieval):
        # a command that was wrapped couldn't be copied
        console.print(part, soft_wrap=isinstance(part, Text))
    if outcome.exit_code in (EXIT_INTERRUPTED, EXIT_STOPPED):
        log.warning("Stopped; to resume, run the same command again")
    failed = [step for step in outcome.status.steps if step.state is StepState.FAILED]
    stalled = outcome.status.condition("Stalled")
    if failed:
        # the warnings and the table above give the reasons
        log.error("Failed: %s", ", ".join(step.name for step in failed))
        for hint in owner_to_take_over(experiment.name, {step.reason for step in failed}):
            log.error("%s", hint)
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
