"""Termination messages of ``launch``: for starts that run no process, and for processes that write none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import (
    EXIT_KILLED,
    EXIT_OK,
    EXIT_STOPPED,
    EXIT_WORKSPACE_FULL,
    WHAT_TO_LOWER,
    Stopped,
    Superseded,
    TaskError,
    WorkspaceFull,
)
from maskrcnn_trainer.launch.processes import Ended, is_told_by_rank_zero, most_telling
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.shared.messages import ArtifactKey, ResultKey, StoredArtifact, TaskFailure, TerminationMessage
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.termination import termination_message, write_termination_message


def conclude(ended: Sequence[Ended], environment: TaskEnvironment, settings: LaunchSettings) -> int:
    """Return the exit code of processes that have ended; write the termination message if rank 0 has written none."""
    cause = most_telling(ended)
    if cause is None:
        return EXIT_OK
    if settings.node_rank == 0 and (not is_told_by_rank_zero(ended, cause) or cause.code == EXIT_KILLED):
        # rank 0 writes the termination message of its own failure, unless it was killed
        if cause.code == EXIT_KILLED:
            reason = "OutOfMemory"
            text = f"process {cause.rank} was killed by signal 9, probably because memory ran out. {WHAT_TO_LOWER}"
        elif cause.failure is not None:
            reason, text = cause.failure.reason, f"process {cause.rank}: {cause.failure.message}"
        else:
            reason, text = _unreported(f"process {cause.rank}", cause.code)
        error = TaskFailure(reason, text)
        write_termination_message(
            environment, termination_message(settings.task[0], cause.code, environment, error=error)
        )
    return cause.code


def up_to_date_message(
    result: Mapping[str, Any], environment: TaskEnvironment, settings: LaunchSettings
) -> TerminationMessage:
    """Return the termination message of a start that found the result of its step.

    Args:
        result: content of ``result.json``.
        environment: of the task.
        settings: of the launch.

    Raises:
        KeyError, TypeError, AttributeError: the content isn't that of a result.
    """
    artifacts = {
        name: StoredArtifact(artifact[ArtifactKey.PATH], artifact[ArtifactKey.BYTES])
        for name, artifact in result[ResultKey.ARTIFACTS].items()
    }
    return termination_message(
        settings.task[0],
        EXIT_OK,
        environment,
        model_path=result.get(ResultKey.MODEL_PATH),
        metrics=result.get(ResultKey.METRICS),
        artifacts=artifacts,
        checkpoint_step=result.get(ResultKey.CHECKPOINT_STEP),
        report_path=result.get(ResultKey.REPORT_PATH),
        up_to_date=True,
    )


def failure_message(
    error: TaskError, environment: TaskEnvironment, settings: LaunchSettings, *, checkpoint_step: int | None = None
) -> TerminationMessage:
    """Return the termination message of an error of the launch itself."""
    later = error.attempt if isinstance(error, Superseded) else None
    failure = TaskFailure(error.reason, str(error), later)
    return termination_message(
        settings.task[0], error.exit_code, environment, error=failure, checkpoint_step=checkpoint_step
    )


def message_of_code(
    code: int,
    environment: TaskEnvironment,
    settings: LaunchSettings,
    working_dir: Path,
    *,
    checkpoint_step: int | None,
) -> TerminationMessage:
    """Return the termination message of a task that has left none in its working copy."""
    error = TaskFailure(*_unreported("the task", code))
    if code == EXIT_WORKSPACE_FULL:
        # its message is in the working copy, which has no room for it
        full = WorkspaceFull(f"{working_dir}: no space left; free some space, or enlarge the volume")
        error = TaskFailure(full.reason, str(full))
    return termination_message(
        settings.task[0],
        code,
        environment,
        checkpoint_step=checkpoint_step,
        error=None if code == EXIT_OK else error,
    )


def _unreported(what: str, code: int) -> tuple[str, str]:
    """Return reason and message of a process that has reported nothing."""
    if code == EXIT_STOPPED:
        # a signal that arrives before the process handles it
        return Stopped.default_reason, f"{what} was stopped before it had begun to work"
    return "ProcessFailed", f"{what} ended with exit code {code}; see its log for the cause"


def say_refused(error: TaskError, environment: TaskEnvironment, settings: LaunchSettings) -> None:
    """Write the termination message of a start that couldn't claim its directory, unless the file is in there."""
    results_dir, termination_log = Path(str(environment.results_dir)), environment.termination_log
    if termination_log and not Path(termination_log).resolve().is_relative_to(results_dir.resolve()):
        write_termination_message(environment, failure_message(error, environment, settings))


def say_stopped(environment: TaskEnvironment, settings: LaunchSettings) -> int:
    """Write the termination message of a start that was stopped before its processes, and return its exit code."""
    error = TaskFailure(Stopped.default_reason, "stopped before the processes were started")
    write_termination_message(
        environment, termination_message(settings.task[0], EXIT_STOPPED, environment, error=error)
    )
    return EXIT_STOPPED
