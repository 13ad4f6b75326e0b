"""What a task can fail of, and the exit code by which whoever started it decides what to do next.

64 is permanent: the command line, the spec or the data cannot work, and trying again would fail again. 75 asks for
another try. 143 is a stop that was asked for (128 + SIGTERM). 70 is a full workspace.
"""

from __future__ import annotations

import errno

from maskrcnn_trainer.spelling import as_written

EXIT_OK = 0
EXIT_INVALID = 64
EXIT_WORKSPACE_FULL = 70
EXIT_TRY_AGAIN = 75
EXIT_KILLED = 137
EXIT_STOPPED = 143


class TaskError(Exception):
    """A failure that the user is told about in one sentence, without a traceback.

    Args:
        message: names the field or file, the value found, and what would be right.
        reason: one CamelCase word for status, events and metrics, such as ``InvalidData``.
    """

    exit_code = 1
    default_reason = "Failed"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


class InvalidInput(TaskError):  # noqa: N818 - it is an input that is invalid, not an error of ours
    """The command line, the spec, a model file or the data cannot work (exit code 64)."""

    exit_code = EXIT_INVALID
    default_reason = "InvalidInput"


class TryAgain(TaskError):  # noqa: N818
    """Something outside this process failed that may work next time: a lost peer, a run that took over (75)."""

    exit_code = EXIT_TRY_AGAIN
    default_reason = "TryAgain"


class WorkspaceFull(TaskError):  # noqa: N818
    """No space is left where results are written (70)."""

    exit_code = EXIT_WORKSPACE_FULL
    default_reason = "WorkspaceFull"


class Stopped(TaskError):  # noqa: N818
    """SIGTERM or SIGINT was obeyed; what could be saved is saved (143)."""

    exit_code = EXIT_STOPPED
    default_reason = "Stopped"


def describe_error(error: BaseException) -> tuple[int, str, str]:
    """The exit code, the reason (one CamelCase word) and the sentence for an exception that ended a task."""
    if isinstance(error, TaskError):
        return error.exit_code, error.reason, as_written(str(error))
    if isinstance(error, KeyboardInterrupt):
        return EXIT_STOPPED, Stopped.default_reason, "Interrupted."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkspaceFull.exit_code, WorkspaceFull.default_reason, f"No space is left in the workspace: {error}"
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        return code, TaskError.default_reason, f"The task ended with exit code {code}."
    return 1, TaskError.default_reason, f"{type(error).__name__}: {error}"
