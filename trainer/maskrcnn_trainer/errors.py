"""What a task can fail of, and the exit code by which whoever started it decides what to do next.

64 is permanent: the command line, the spec or the data cannot work, and trying again would fail again. 75 asks for
another try. 143 is a stop that was asked for (128 + SIGTERM). 70 is a full workspace.
"""

from __future__ import annotations

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
