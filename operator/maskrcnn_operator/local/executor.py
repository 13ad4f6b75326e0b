"""Execution of plans as local processes, which are reported as runs."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.core.arguments import (
    ProcessPaths,
    launch_arguments,
    results_in_store_environment,
    task_arguments,
    task_environment,
)
from maskrcnn_operator.core.plan import StartRun
from maskrcnn_operator.core.runs import Run, RunKey, RunState
from maskrcnn_operator.local.log_end import last_line
from maskrcnn_operator.local.paths import LocalWorkspace, without_ours
from maskrcnn_operator.local.process import AttemptProcess, Files
from maskrcnn_operator.local.results import ended_result, finished_result
from maskrcnn_operator.local.store import RunIdentity
from maskrcnn_operator.local.working_files import remove_working_files
from maskrcnn_trainer.errors import EXIT_OK
from maskrcnn_trainer.shared.messages import NOTICE
from maskrcnn_trainer.shared.nvidia import has_nvidia_device
from maskrcnn_trainer.shared.variables import GPUS_VARIABLE, KEY_VARIABLE, NO_GPU_VARIABLES, WORKSPACE_VARIABLE

_log = logging.getLogger(__name__)

STAGING = ".staging"


class LocalExecutor:
    """Processes of one experiment.

    Args:
        experiment: whose steps are run.
        workspace: maps the manifest's paths to this machine.
        identity: of the experiment; marks the results that belong to it.
        trainer: the command ``maskrcnn``.
        key: the encryption key if the experiment uses one, else None.
        inputs: variables of inputs by URL.
        take_over_from: state of another owner of results in object storage that is replaced; None to replace none.
    """

    def __init__(
        self,
        experiment: MaskRCNNExperiment,
        workspace: LocalWorkspace,
        *,
        identity: RunIdentity,
        trainer: Sequence[str],
        key: str | None,
        inputs: Mapping[str, str],
        take_over_from: str | None = None,
    ) -> None:
        self.experiment, self.workspace, self.identity = experiment, workspace, identity
        self.trainer, self.key, self.inputs = tuple(trainer), key, dict(inputs)
        self.take_over_from = take_over_from
        self._started: dict[RunKey, tuple[StartRun, AttemptProcess]] = {}
        self._ended: dict[RunKey, Run] = {}
        self.logs: dict[str, Path] = {}
        self._noticed: set[str] = set()

    def start(self, request: StartRun) -> None:
        """Start an attempt, or adopt an existing result.

        An attempt that can't be started becomes a failed run.
        """
        key = RunKey(request.step, request.attempt)
        directory = self.workspace.step_directory(self.experiment.name, request.step)
        # in object storage, maskrcnn launch finds it by its claim
        result = finished_result(directory, request.fingerprints, self.workspace) if self._is_on_disk else None
        now = datetime.now(UTC).replace(microsecond=0)
        # if the result lacks one of the fingerprints, maskrcnn launch adds it
        if result is not None and set(request.fingerprints).issubset(result.fingerprints):
            self._ended[key] = Run(
                step=request.step,
                attempt=request.attempt,
                state=RunState.SUCCEEDED,
                fingerprint=request.fingerprint,
                older_fingerprints=request.older_fingerprints,
                result=result,
                exit_code=EXIT_OK,
                adopted=True,
                started=now,
                ended=now,
            )
            return
        try:
            process = self._process(request, directory)
        except OSError as error:
            self._ended[key] = Run(
                step=request.step,
                attempt=request.attempt,
                state=RunState.FAILED,
                fingerprint=request.fingerprint,
                older_fingerprints=request.older_fingerprints,
                message=f"the process couldn't be started: {error}",
                started=now,
                ended=now,
            )
            return
        self._started[key] = (request, process)
        self.logs[request.step] = process.log

    def _process(self, request: StartRun, directory: Path) -> AttemptProcess:
        step = self.experiment.step(request.step)
        name = self.experiment.name
        home = self.workspace.home(name)
        staging = home / STAGING / f"{request.step}-{request.attempt}"
        files = Files(directory, staging, request.attempt, published=not self._is_on_disk)
        files.staging.mkdir(parents=True, exist_ok=True)
        if files.staging.is_symlink():
            raise OSError(errno.ELOOP, "it is a link, and the attempt would write to the link's target", files.staging)
        if request.spec is not None:
            content = yaml.safe_dump(self.workspace.localized(request.spec), sort_keys=False)
            with files.spec.open("x", encoding="utf-8") as stream:
                stream.write(content)
        paths = ProcessPaths(
            results_dir=self.workspace.results_argument(name, request.step),
            spec_file=str(files.spec) if request.spec is not None else None,
            model_path=request.model_path,
            termination_log=str(files.termination_log),
            encrypted=self.key is not None,
            path=self.workspace.to_local,
        )
        arguments = launch_arguments(step, task_arguments(step, paths), nodes=1, processes_per_node=step.processes)
        environment = without_ours(os.environ) | task_environment(
            paths,
            fingerprints=request.fingerprints,
            attempt=request.attempt,
            experiment_uid=self.identity.uid,
            created=self.identity.created,
        )
        environment |= self.inputs | self._workspace_variables(request)
        if not step.gpus_per_node:
            environment |= NO_GPU_VARIABLES
        elif has_nvidia_device():
            environment[GPUS_VARIABLE] = str(step.gpus_per_node)
        if self.key is not None:
            environment[KEY_VARIABLE] = self.key
        return AttemptProcess.start(
            (*self.trainer, *arguments),
            environment,
            files,
            uid=self.identity.uid,
            fingerprint=request.fingerprints[0],
        )

    def _workspace_variables(self, request: StartRun) -> dict[str, str]:
        if self._is_on_disk:
            return {WORKSPACE_VARIABLE: str(self.workspace.directory)}
        return results_in_store_environment(
            owner_id=self.identity.owner_id,
            working_dir=str(self.workspace.directory),
            input_fingerprints=request.input_fingerprints,
            take_over_from=self.take_over_from,
        )

    @property
    def _is_on_disk(self) -> bool:
        """Return whether the results are in a directory of this machine, not in object storage."""
        return self.workspace.url is None

    def observe(self) -> list[Run]:
        """Return a run for each attempt that was started and not forgotten."""
        for key, (request, process) in list(self._started.items()):
            code = process.poll()
            self.logs[key.step] = process.log
            self._show_notices(key.step, process)
            if code is not None:
                self._ended[key] = self._ended_run(request, process, code)
                process.clear()
                del self._started[key]
        live = [
            Run(
                step=key.step,
                attempt=key.attempt,
                state=RunState.STOPPING if process.stopping else RunState.RUNNING,
                fingerprint=request.fingerprint,
                older_fingerprints=request.older_fingerprints,
                started=process.started,
                ran=process.started,
            )
            for key, (request, process) in self._started.items()
        ]
        return [*live, *self._ended.values()]

    def _show_notices(self, step: str, process: AttemptProcess) -> None:
        """Log the new warnings of an attempt, each once in a run: of several steps, they differ in the first word."""
        for record in process.notices.new_records():
            notice = str(record.get(NOTICE, ""))
            kind = notice.partition(" ")[2]
            if kind not in self._noticed:
                self._noticed.add(kind)
                _log.warning("Step %s: %s", step, notice)

    def _ended_run(self, request: StartRun, process: AttemptProcess, code: int) -> Run:
        result = ended_result(process.files, code, fingerprints=request.fingerprints, workspace=self.workspace)
        return Run(
            step=request.step,
            attempt=request.attempt,
            state=RunState.SUCCEEDED if code == EXIT_OK else RunState.FAILED,
            fingerprint=request.fingerprint,
            older_fingerprints=request.older_fingerprints,
            exit_code=code,
            result=result,
            message=f"exit code {code}{self._refusal(process)}; see {process.log}" if code != EXIT_OK else "",
            started=process.started,
            ran=process.started,
            ended=process.ended,
        )

    def _refusal(self, process: AttemptProcess) -> str:
        """Return the last log line of an attempt that couldn't claim its directory, else an empty text.

        Such an attempt writes no termination message, since the directory may hold a user's files.
        """
        if process.log != process.files.unclaimed_log:
            return ""
        try:
            line = last_line(process.log.read_bytes())
        except OSError:
            return ""
        return f": {self.workspace.in_manifest_form(line)}" if line else ""

    def new_records(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the records that running steps have added to their ``status.json`` since the last call.

        Returns:
            Pairs of a step's name and a record.
        """
        return [
            (key.step, record)
            for key, (_, process) in self._started.items()
            for record in process.records.new_records()
        ]

    def stop(self, key: RunKey) -> None:
        """Signal an attempt to stop after a checkpoint."""
        if key in self._started:
            self._started[key][1].stop()

    def kill(self) -> None:
        """Kill all processes."""
        for _, process in self._started.values():
            process.kill()

    def forget(self, key: RunKey) -> None:
        """Forget an ended attempt; called once its outcome is in the status.

        The working files of results in object storage are removed, too, once they are complete.
        """
        ended = self._ended.pop(key, None)
        if ended is not None and ended.state is RunState.SUCCEEDED and not self._is_on_disk:
            remove_working_files(self.workspace.experiment_directory(self.experiment.name), key.step)

    @property
    def busy(self) -> bool:
        """Return whether a process is running, or the outcome of an attempt isn't in the status yet."""
        return bool(self._started or self._ended)
