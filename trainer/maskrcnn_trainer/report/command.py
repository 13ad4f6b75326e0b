"""``maskrcnn report``: one page about an evaluation and its experiment, or about several experiments side by side."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput, TryAgain
from maskrcnn_trainer.report.inputs.by_url import experiment_around, is_report_input, named_in_store
from maskrcnn_trainer.report.inputs.experiment_directory import ExperimentDirectory, open_directory
from maskrcnn_trainer.results.report_files import may_be_replaced
from maskrcnn_trainer.shared.files import LONGEST_NAME
from maskrcnn_trainer.shared.messages import REPORT_FILE, REPORT_NUMBERS_FILE
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.task_inputs import CommandInputs
from maskrcnn_trainer.staging.work import UrlInput
from maskrcnn_trainer.task.files import directory_fault
from maskrcnn_trainer.task.staged_inputs import staged_path
from maskrcnn_trainer.task.workspace import is_in_store

log = logging.getLogger(__name__)

PAGE_SUFFIXES = (".html", ".htm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "-r",
        "--results-dir",
        nargs="+",
        required=True,
        metavar="DIR",
        help="results directory of a step, or the directory of an experiment, which has those of its steps; several "
        "are shown side by side",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the page to write, a .html; required for several directories (default: report.html in DIR). A .json with "
        "all its numbers is written next to it",
    )


def stage(arguments: argparse.Namespace, inputs: CommandInputs) -> None:
    """Stage directories in object storage, the steps around an evaluation, and the files that all of them name."""
    given = list(arguments.results_dir)
    if any(map(is_in_store, given)) and arguments.output is None:
        raise InvalidInput("-o is missing: with results by URL, give the page to write, such as report.html")
    inputs.stage(*(UrlInput(one, InputKind.DIRECTORY, "-r", is_read=is_report_input) for one in given))
    for one in filter(None, map(experiment_around, given)):
        _stage_if_possible(inputs, one, "other steps")
    arguments.results_dir = [staged_path(one) for one in given]
    arguments.results_dir_as_given = given
    for name in named_in_store(arguments.results_dir):
        _stage_if_possible(inputs, UrlInput(name, InputKind.FILE, "-r"), f"pictures and curves of {name}")


def _stage_if_possible(inputs: CommandInputs, given: UrlInput, lacking: str) -> None:
    try:
        inputs.stage(given)
    except (InvalidInput, TryAgain) as error:
        log.warning("the report lacks %s: %s", lacking, error)


def run(arguments: argparse.Namespace) -> int:
    """Make a report.

    Returns:
        0.

    Raises:
        InvalidInput: a directory has no results, or the page can't be written; nothing was written then.
    """
    if len(arguments.results_dir) > 1 and arguments.output is None:
        raise InvalidInput("-o is missing: with several directories, give the page to write, such as compared.html")
    written = getattr(arguments, "results_dir_as_given", arguments.results_dir)
    directories = [_opened(path, one) for path, one in zip(arguments.results_dir, written, strict=True)]
    given = arguments.output is not None
    output = Path(arguments.output) if given else Path(arguments.results_dir[0]) / REPORT_FILE
    _check_output(output, flag="-o" if given else "-r")
    # loads NumPy and OpenCV, which a mistake in the command line doesn't need
    from maskrcnn_trainer.report.making import make_report, write_report

    try:
        report, page = make_report(directories)
    except MemoryError:
        raise InvalidInput(
            "the memory is too small for the detections and annotations; make the report where more is left",
            reason="OutOfMemory",
        ) from None
    write_report(report, page, output)
    for experiment in report.experiments:
        for note in experiment.notes:
            log.info("%s: %s", experiment.name, note)
    log.info("Report: %s (%.1f MB)", output, len(page.encode()) / 1e6)
    return EXIT_OK


def _opened(path: str, written: str) -> ExperimentDirectory:
    """Return the steps of a directory; errors have it as the user wrote it, not its copy in the cache."""
    try:
        return open_directory(Path(path))
    except InvalidInput as error:
        raise InvalidInput(str(error).replace(f"-r {path}", f"-r {written}"), reason=error.reason) from error


def _check_output(output: Path, *, flag: str) -> None:
    """Check before the work that the page can be written.

    Raises:
        InvalidInput: it can't.
    """
    if output.suffix.lower() not in PAGE_SUFFIXES:
        raise InvalidInput(f"{flag} {output}: the page is HTML; give a path that ends with .html")
    numbers = output.with_suffix(".json")
    if len(os.fsencode(numbers.name)) > LONGEST_NAME:
        raise InvalidInput(f"{flag}: the name {output.name[:40]!r}... is longer than {LONGEST_NAME} bytes")
    for file, name in ((output, REPORT_FILE), (numbers, REPORT_NUMBERS_FILE)):
        if file.is_dir():
            raise InvalidInput(f"{flag} {output}: {file} is a directory; give the path of a file")
        # -o names the page alone, so its .json may be a file that the user doesn't expect to lose
        if not (flag == "-o" and file == output) and not may_be_replaced(file, name):
            raise InvalidInput(f"{file} isn't a report and would be overwritten; move it, or give another file with -o")
    folder = output.parent
    if fault := directory_fault(folder):
        raise InvalidInput(f"{flag} {output}: {folder}: {fault}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(
            f"{flag} {output}: {folder} is not writable; give a file in another directory with -o, or change its "
            "permissions"
        )
