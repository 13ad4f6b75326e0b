"""Replacement of this process by ``maskrcnn artifacts``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from maskrcnn_operator.local.process import trainer_command
from maskrcnn_trainer.errors import EXIT_INVALID

ARTIFACTS = "artifacts"
"""Name of the command."""


def run_artifacts(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> NoReturn:
    """Run ``maskrcnn artifacts`` in place of this process, so that its exit code and its signals are this one's.

    Args:
        arguments: of the command.
        variables: environment variables to set in addition to those of this process.

    Raises:
        SystemExit: it can't be started.
    """
    command = (*trainer_command(), ARTIFACTS, *arguments)
    try:
        os.execve(command[0], command, {**os.environ, **(variables or {})})  # noqa: S606 - no shell is involved
    except OSError as error:
        sys.stderr.write(f"maskrcnn-operator {ARTIFACTS}: {command[0]} can't be started: {error.strerror}\n")
        sys.exit(EXIT_INVALID)
