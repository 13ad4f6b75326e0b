"""Reports of a task: status.json, the termination message, result.json, and posted records.

All metrics are fractions and plain JSON numbers. Only rank 0 reports. A report that cannot be written doesn't fail or
delay the task, except for result.json, which is the purpose of the task.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import EXIT_OK, InvalidInput, Stopped, TaskError, as_task_error, describe_error
from maskrcnn_trainer.shared.files import open_in_place
from maskrcnn_trainer.shared.messages import (
    INPUTS_FILE,
    RESULT_FILE,
    STATUS_FILE,
    Result,
    Sender,
    StatusRecord,
    StoredArtifact,
    TaskFailure,
    TaskStatus,
    TerminationMessage,
    finite_numbers,
)
from maskrcnn_trainer.shared.text import format_seconds
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.artifacts import (
    PathLike,
    artifact_bytes,
    artifact_sha256,
    is_foreign_report,
    is_foreign_result,
)
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.failure_message import send_failure
from maskrcnn_trainer.task.files import compact_json, make_directory, write_atomically, write_json_atomically
from maskrcnn_trainer.task.posting import HttpPoster, Poster
from maskrcnn_trainer.task.publication import TaskPublication, task_publication
from maskrcnn_trainer.task.staged_inputs import staged_inputs
from maskrcnn_trainer.task.termination import termination_message, write_termination_message
from maskrcnn_trainer.task.workspace import manifest_path

logger = logging.getLogger(__name__)

REPORTED_PACKAGES = ("maskrcnn-operator", "tensorflow", "tensorflow-cpu", "keras", "horovod", "numpy", "pycocotools")


class Reporter:
    """Writer of a task's reports to its results directory, its termination log, and its report server.

    Args:
        task: name of the task on the command line, such as ``dataset_convert``.
        results_dir: directory of status.json and result.json; created if absent.
        environment: environment variables of the task.
        rank: rank of this process; ranks other than 0 write nothing.
        processes: number of processes of the task.
        threads: threads of each process; default: the CPUs that it may use.
        before_write: called before result.json is renamed into place or an old one is removed; raises if another run
            has taken over the directory.
        poster: receives the records to post, already started; default: HttpPoster if MASKRCNN_REPORT_URL is set.
        publication: channel to the launcher that publishes the results; default: that of this process, if it has one.
            With it, a checkpoint counts in records and in the termination message once it is published.
    """

    def __init__(
        self,
        task: str,
        results_dir: PathLike,
        environment: TaskEnvironment,
        *,
        rank: int = 0,
        processes: int = 1,
        threads: int | None = None,
        before_write: Callable[[], None] | None = None,
        poster: Poster | None = None,
        publication: TaskPublication | None = None,
    ) -> None:
        self.task = task
        self.results_dir = Path(results_dir)
        self.environment = environment
        self.silent = rank != 0
        self.finished = False
        self._processes = processes
        self._threads = threads if threads is not None else len(os.sched_getaffinity(0))
        self._before_write = before_write
        self._start_time = _utc_now()
        self._checkpoint_step: int | None = None
        self._accepted = False
        self._status_failing = False
        self._status_refused = False
        self._poster = poster
        self._publication = None if self.silent else publication or task_publication()

    def started(self, message: str = "") -> None:
        """Record the start of the task.

        Raises:
            InvalidInput: the results directory cannot be created, or result.json or status.json in it was written by
                another program.
        """
        if self.silent:
            return
        try:
            make_directory(self.results_dir)
        except TaskError:
            self._status_refused = True
            raise
        for name, is_foreign in ((RESULT_FILE, is_foreign_result), (STATUS_FILE, is_foreign_report)):
            if is_foreign(self.results_dir / name):
                self._status_refused = True
                raise InvalidInput(
                    f"{self.results_dir / name} was not written by a task and would be overwritten; give another "
                    "results directory, or move the file",
                    reason="ForeignFiles",
                )
        if self._poster is None and self.environment.report_url is not None:
            try:
                self._poster = HttpPoster(self.environment, publication=self._publication).start()
            except InvalidInput as error:
                logger.warning("Progress is not posted: %s", error)
        self._record(TaskStatus.STARTED, message)

    def accepted(self) -> None:
        """Remove the result.json of an earlier run; called before the task changes its outputs.

        A command that is refused before this call leaves earlier results unchanged.
        """
        if self.silent or self._accepted:
            return
        self._accepted = True
        stale = self.results_dir / RESULT_FILE
        if stale.exists():
            if self._before_write is not None:
                self._before_write()
            stale.unlink(missing_ok=True)
            (self.results_dir / INPUTS_FILE).unlink(missing_ok=True)

    def running(
        self,
        message: str = "",
        *,
        epoch: int | None = None,
        max_epoch: int | None = None,
        step: int | None = None,
        total_steps: int | None = None,
        eta: float | None = None,
        time_per_epoch: float | None = None,
        kpi: Mapping[str, Any] | None = None,
        graphical: Mapping[str, Any] | None = None,
        checkpoint_step: int | None = None,
    ) -> None:
        """Record the progress of the task.

        Args:
            message: text of the record.
            epoch: current epoch, from 1.
            max_epoch: number of epochs.
            step: steps done.
            total_steps: number of steps.
            eta: seconds left.
            time_per_epoch: seconds.
            kpi: metrics of an evaluation.
            graphical: losses and rates.
            checkpoint_step: training step of a checkpoint that was written, evaluated, or resumed. The launcher learns
                that it is complete, and later records contain it.
        """
        if checkpoint_step is not None:
            self._checkpoint_step = checkpoint_step
        if self.silent:
            return
        if checkpoint_step is not None and self._publication is not None:
            # a post with this record already shows that the checkpoint waits
            self._publication.completed(checkpoint_step)
        self._record(
            TaskStatus.RUNNING,
            message,
            epoch=epoch,
            max_epoch=max_epoch,
            step=step,
            total_steps=total_steps,
            eta=None if eta is None or not math.isfinite(eta) else format_seconds(eta),
            time_per_epoch=None if time_per_epoch is None else format_seconds(time_per_epoch),
            kpi=finite_numbers(kpi),
            graphical=finite_numbers(graphical),
        )
        if checkpoint_step is not None and self._publication is not None:
            self._publication.announce(checkpoint_step)

    def succeeded(
        self,
        message: str = "",
        *,
        metrics: Mapping[str, Any] | None = None,
        artifacts: Mapping[str, PathLike] | None = None,
        model_path: PathLike | None = None,
        checkpoint_step: int | None = None,
        device: str | None = None,
        facts: Mapping[str, Any] | None = None,
        make_report: Callable[[], PathLike | None] | None = None,
    ) -> None:
        """Write result.json, the termination message, and the last record.

        Args:
            message: text of the record.
            metrics: numbers; those that aren't finite are left out.
            artifacts: files, directories, or patterns by name; those in a local workspace with ``/workspace`` paths.
            model_path: the model that the task produced.
            checkpoint_step: training step of the newest checkpoint; default: the last one recorded.
            device: name of the GPU or CPU that it computed on; only in result.json.
            facts: JSON object for the report; only in result.json, since a termination message has to be small.
            make_report: makes a report about this result, once result.json is there, and returns its path if it could.
                A process that is killed meanwhile has its result already.
        """
        if self.silent:
            return
        sized = {
            name: StoredArtifact(manifest_path(os.fspath(path)), artifact_bytes(path))
            for name, path in (artifacts or {}).items()
        }
        ended = termination_message(
            self.task,
            EXIT_OK,
            self.environment,
            model_path=model_path,
            metrics=metrics,
            artifacts=sized,
            checkpoint_step=self._checkpoint_step if checkpoint_step is None else checkpoint_step,
        )
        result = Result(
            message=ended,
            digests={name: artifact_sha256(artifact.path) for name, artifact in sized.items()},
            versions=installed_versions(),
            processes=self._processes,
            threads=self._threads,
            start_time=self._start_time,
            completion_time=_utc_now(),
            fingerprints=self.environment.fingerprints,
            device=device,
            facts=facts or {},
            inputs=staged_inputs().summaries,
        )
        self.accepted()
        if self._before_write is not None:
            self._before_write()
        self._write_inputs()
        write_json_atomically(self.results_dir / RESULT_FILE, result.to_json(), indent=2)
        report = None if make_report is None else make_report()
        if report is not None:
            ended = replace(ended, report_path=manifest_path(os.fspath(report)))
            if self._before_write is not None:
                self._before_write()
            write_json_atomically(self.results_dir / RESULT_FILE, replace(result, message=ended).to_json(), indent=2)
        self.finished = True
        self._checkpoint_step = ended.checkpoint_step
        self._record(TaskStatus.SUCCESS, message, kpi=ended.metrics)
        self._close(ended)

    def prepared(self) -> None:
        """End the records of a part before the task's own report, which has another writer."""
        if self._poster is not None:
            self._poster.close()

    def failed(self, error: BaseException) -> int:
        """Write the FAILURE record and the termination message; return the exit code of ``error``."""
        code, reason, message = describe_error(error)
        if self.silent or self.finished:
            return code
        self.finished = True
        self._record(TaskStatus.FAILURE, message)
        self._close(
            termination_message(
                self.task,
                code,
                self.environment,
                checkpoint_step=self._counted_step(),
                error=TaskFailure(reason, message),
            )
        )
        return code

    def _counted_step(self) -> int | None:
        """Return the step of the newest checkpoint from which another attempt could resume."""
        return self._checkpoint_step if self._publication is None else self._publication.published_step

    def _write_inputs(self) -> None:
        """Write the list of the objects that were read by URL."""
        if found := staged_inputs().list_file:
            write_atomically(self.results_dir / INPUTS_FILE, Path(found).read_bytes())

    def _close(self, ended: TerminationMessage) -> None:
        write_termination_message(self.environment, ended)
        if self._poster is not None:
            self._poster.close()

    def _record(self, status: TaskStatus, message: str, **fields: Any) -> None:
        now = datetime.now()  # local time, as in log lines
        record = StatusRecord(
            date=now.strftime("%m/%d/%Y"),
            time=now.strftime("%H:%M:%S"),
            status=status,
            message=message,
            checkpoint_step=self._counted_step(),
            **fields,
        ).to_json()
        self._append(record)
        if self._poster is not None:
            sender = Sender(
                task=self.task,
                experiment_uid=self.environment.experiment_uid,
                fingerprint=self.environment.fingerprint,
                attempt=self.environment.attempt,
            )
            self._poster.offer(sender.to_json() | record)

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._status_refused:
            return
        try:
            with open_in_place(self.results_dir / STATUS_FILE, append=True) as stream:
                if stream.seek(0, os.SEEK_END) > 0:
                    stream.seek(-1, os.SEEK_END)
                    if stream.read(1) != b"\n":  # an earlier run was killed while it wrote a line
                        stream.write(b"\n")
                stream.write(compact_json(record) + b"\n")
            self._status_failing = False
        except OSError as error:
            if not self._status_failing:
                logger.warning("%s could not be written: %s", self.results_dir / STATUS_FILE, error.strerror or error)
            self._status_failing = True


@contextlib.contextmanager
def task_report(
    task: TaskName,
    results_dir: PathLike,
    environment: TaskEnvironment | None = None,
    *,
    started: str = "",
    **options: Any,
) -> Iterator[Reporter]:
    """Run a block between the STARTED record of a task and its termination message.

    An exception that ends the block is recorded and becomes SystemExit with its exit code. It is logged, with a
    traceback unless :func:`as_task_error` recognizes it. A block that ends without an exception must have called
    ``succeeded``. Ranks other than 0 pass their failure to the launcher, which reports it unless rank 0 has.

    Args:
        task: the task.
        results_dir: as for Reporter.
        environment: default: the variables of this process.
        started: text of the STARTED record.
        options: further arguments of Reporter.
    """
    reporter = Reporter(task.command, results_dir, environment or TaskEnvironment.from_environ(), **options)
    with _failures_reported(reporter):
        reporter.started(started)
        yield reporter
        if not (reporter.finished or reporter.silent):
            raise RuntimeError(f"{task.command} ended without reporting success")


@contextlib.contextmanager
def preparation_report(
    task: TaskName, results_dir: PathLike, environment: TaskEnvironment, *, started: str = "", rank: int = 0
) -> Iterator[Reporter]:
    """Report a part of a task before its own report begins; a failure ends the task as in :func:`task_report`.

    Args:
        task: the task.
        results_dir: as for Reporter.
        environment: as for Reporter.
        started: text of the STARTED record.
        rank: as for Reporter.
    """
    reporter = Reporter(task.command, results_dir, environment, rank=rank)
    with _failures_reported(reporter):
        reporter.started(started)
        yield reporter
        reporter.prepared()


@contextlib.contextmanager
def _failures_reported(reporter: Reporter) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (None, EXIT_OK):
            raise
        code = reporter.failed(error)
        if isinstance(error, Stopped | KeyboardInterrupt):
            # a stop isn't a failure, and one rank of a worker group is enough to report it
            logger.log(logging.DEBUG if reporter.silent else logging.WARNING, "%s", describe_error(error)[2])
        elif isinstance(error, SystemExit) or as_task_error(error) is not None:
            if not (reporter.silent and send_failure(TaskFailure(*describe_error(error)[1:]))):
                logger.error("%s", describe_error(error)[2])
        else:
            logger.exception("%s failed", reporter.task)
        raise SystemExit(code) from error


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of packages that can change a result, without importing the packages."""
    versions = {"python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
