"""Command ``maskrcnn-operator artifacts``: replaces this process by ``maskrcnn artifacts`` with the same arguments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from maskrcnn_operator.local.process import trainer_command
from maskrcnn_trainer.errors import EXIT_INVALID

ARTIFACTS = "artifacts"
"""Name of the command."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``artifacts`` to a parser, for its help; flags among them aren't parsed here."""
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="URL ...", help="those of `maskrcnn artifacts`, such as its URL"
    )
    parser.set_defaults(command=lambda parsed: run_artifacts(parsed.arguments))


def run_artifacts(arguments: Sequence[str]) -> NoReturn:
    """Run ``maskrcnn artifacts`` in place of this process, so that its exit code and its signals are this one's.

    Raises:
        SystemExit: it can't be started.
    """
    command = (*trainer_command(), ARTIFACTS, *arguments)
    try:
        os.execv(command[0], command)  # noqa: S606 - a program of this environment, without a shell
    except OSError as error:
        sys.stderr.write(f"maskrcnn-operator {ARTIFACTS}: {command[0]} can't be started: {error.strerror}\n")
        sys.exit(EXIT_INVALID)
