"""Report at the end of an evaluation, made by ``maskrcnn report`` in a process of its own.

That process has no TensorFlow, so its memory isn't added to that of a network. It writes into a directory of its own,
so that a run whose results directory was taken over leaves no file there. A report that can't be made is a warning with
the reason and the command that makes it: the evaluation has its result already.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from maskrcnn_trainer.errors import EXIT_OK, TaskError, TryAgain
from maskrcnn_trainer.results.report_files import may_be_replaced
from maskrcnn_trainer.shared.messages import REPORT_FILE, REPORT_NUMBERS_FILE
from maskrcnn_trainer.spec.task_table import DETECTIONS_FILE
from maskrcnn_trainer.staging.workspace_inputs import WorkspaceInStore
from maskrcnn_trainer.task.cpus import CGROUP_ROOT
from maskrcnn_trainer.task.files import write_atomically
from maskrcnn_trainer.task.memory import container_memory_left, memory_left
from maskrcnn_trainer.task.stopping import StopRequest
from maskrcnn_trainer.task.workspace import is_path, manifest_path

log = logging.getLogger(__name__)

_MIB = 1 << 20
LEAST_MEMORY = 384 * _MIB
MEMORY_BY_BYTE_READ = 5
"""Bytes of memory for each byte of detections and annotations; ``benchmarks/report_scale.py`` measured four."""

_POLL_SECONDS = 0.2
SECONDS_TO_END = 5.0

ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""Each thread would reserve memory, and there is little algebra to do."""

_LOG_PREFIX = re.compile(r"\d\d:\d\d:\d\d [A-Z]+ +")

MAKER = (sys.executable, "-P", "-m", "maskrcnn_trainer.cli", "report")


class Skipped(Exception):
    """There is no report; the text is the reason."""


class FileInTheWay(Skipped):
    """A file with the name of a report isn't one."""


def make_report(
    results_dir: Path,
    annotations: Path,
    *,
    stop: StopRequest,
    before_write: Callable[[], None],
    maker: Sequence[str] = MAKER,
    cgroup_root: Path = CGROUP_ROOT,
) -> Path | None:
    """Write ``report.html`` and ``report.json`` about a finished evaluation; return the page, or None after a warning.

    Args:
        results_dir: results directory of the evaluation.
        annotations: its annotation file.
        stop: ends the process that makes the report.
        before_write: called before the files are written; raises if another run has taken over the directory.
        maker: the command, without its arguments.
        cgroup_root: root of the cgroup file system.
    """
    # the network and the detections of the evaluation are in cycles
    gc.collect()
    page = results_dir / REPORT_FILE
    try:
        _remove_older(results_dir, before_write)
        needed = needed_memory(_size(results_dir / DETECTIONS_FILE) + _size(annotations))
        left = memory_left(cgroup_root)
        if left is not None and left < needed:
            raise Skipped(f"it needs {needed // _MIB:,} MiB of memory, and {left // _MIB:,} MiB are left")
        log.info("Making the report")
        with tempfile.TemporaryDirectory(prefix="maskrcnn-report-") as folder:
            made = Path(folder, REPORT_FILE)
            _run([*maker, "-r", str(results_dir), "-o", str(made)], stop, container_memory_left(cgroup_root))
            _write(made.parent, results_dir, before_write)
    except (Skipped, TaskError, OSError) as error:
        command = command_of(results_dir, elsewhere=isinstance(error, FileInTheWay))
        log.warning("No report was made: %s. To make one: %s", str(error).rstrip("."), command)
        return None
    log.info("Report: %s", _shown(page))
    return page


def needed_memory(read: int) -> int:
    """Return the bytes of memory that a report needs.

    Args:
        read: bytes of the detections and annotations.
    """
    return LEAST_MEMORY + MEMORY_BY_BYTE_READ * read


def command_of(results_dir: Path, *, elsewhere: bool = False) -> str:
    """Return the command that makes the report of a results directory, in that or in a file elsewhere.

    The command for a workspace in object storage has the URL, for the time when the results are published.
    """
    workspace = WorkspaceInStore.from_environ(os.environ)
    path = manifest_path(results_dir.absolute())
    in_store = workspace is not None and not is_path(path)
    given = str(workspace.url_of(path, "-r")) if workspace is not None and in_store else str(results_dir)
    output = ("-o", f"{results_dir.name}-report.html") if elsewhere or in_store else ()
    return shlex.join(("maskrcnn", "report", "-r", given, *output))


def _shown(page: Path) -> str:
    """Return the page as users find it, also after a working directory is gone."""
    path = manifest_path(page.absolute())
    return str(page) if is_path(path) else path


def _remove_older(results_dir: Path, before_write: Callable[[], None]) -> None:
    """Remove the report of an earlier evaluation, which would contradict the metrics of this one.

    Raises:
        FileInTheWay: a file with its name isn't a report.
    """
    files = [results_dir / name for name in (REPORT_FILE, REPORT_NUMBERS_FILE)]
    present = [file for file in files if file.is_symlink() or file.exists()]
    for file in present:
        if not may_be_replaced(file, file.name):
            raise FileInTheWay(f"{file} isn't a report and would be overwritten")
    if present:
        before_write()
    for file in present:
        file.unlink()


def _write(made: Path, results_dir: Path, before_write: Callable[[], None]) -> None:
    """Write both files; neither remains if one can't be written."""
    numbers = results_dir / REPORT_NUMBERS_FILE
    write_atomically(numbers, (made / REPORT_NUMBERS_FILE).read_bytes(), before_rename=before_write)
    try:
        write_atomically(results_dir / REPORT_FILE, (made / REPORT_FILE).read_bytes(), before_rename=before_write)
    except TryAgain:
        raise
    except (TaskError, OSError):
        numbers.unlink(missing_ok=True)
        raise


def _run(command: Sequence[str], stop: StopRequest, memory: int | None) -> None:
    """Run a command until it has ended or a stop is requested.

    Args:
        command: with its arguments.
        stop: ends the command.
        memory: bytes that it may use; None for any number. More would make the kernel end the whole container.

    Raises:
        Skipped: it failed, or a stop was requested.
    """
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            command, env=os.environ | ONE_BLAS_THREAD, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        if memory is not None and hasattr(resource, "prlimit"):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (memory, memory))
        try:
            while process.poll() is None and not stop.asked:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
            if stop.asked:
                raise Skipped("a stop was requested")
        finally:
            _end(process)
        if process.returncode != EXIT_OK:
            output.seek(0)
            raise Skipped(_explained(process.returncode, output.read().decode("utf-8", "replace")))


def _explained(code: int, output: str) -> str:
    """Return why a process failed: its last line without the time and level, or how it ended if a signal ended it."""
    lines = output.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if code < 0 or not last:
        return f"its process ended with {_signal_name(-code) if code < 0 else f'exit code {code}'}"
    return _LOG_PREFIX.sub("", last)


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
