"""Command line of ``maskrcnn-operator``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from maskrcnn_operator.local import command as run_command
from maskrcnn_operator.local.artifacts import ARTIFACTS
from maskrcnn_operator.local.path_arguments import path_argument
from maskrcnn_operator.runtime import artifacts_command
from maskrcnn_operator.runtime import command as controller_command
from maskrcnn_trainer.errors import EXIT_INVALID
from maskrcnn_trainer.shared.standard_streams import open_closed_streams
from maskrcnn_trainer.shared.version import version


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register("type", Path, path_argument)  # replaces the conversion of all arguments with type=Path

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_INVALID, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; it exits with 64 on an invalid command line."""
    parser = _Parser(
        prog="maskrcnn-operator",
        description="Run MaskRCNNExperiment manifests, on a cluster or on this machine.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"maskrcnn-operator {version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    run = commands.add_parser(
        "run",
        help="run an experiment on this machine, without a cluster",
        description="Run an experiment on this machine, without a cluster. At the end a report of all its results is "
        "written to report.html in the experiment's directory; with a workspace in object storage, in --state-dir.",
        allow_abbrev=False,
    )
    run_command.add_arguments(run)
    controller = commands.add_parser("controller", help="run experiments on a Kubernetes cluster", allow_abbrev=False)
    controller_command.add_arguments(controller)
    artifacts = commands.add_parser(
        ARTIFACTS,
        help="list, load, link, clean, or delete results in object storage",
        description=artifacts_command.ARTIFACTS_DESCRIPTION,
        allow_abbrev=False,
    )
    artifacts_command.add_arguments(artifacts)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    open_closed_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == [ARTIFACTS]:
        # flags behind the action are those of another program, which argparse would refuse
        artifacts = _Parser(prog=f"maskrcnn-operator {ARTIFACTS}", description=artifacts_command.ARTIFACTS_DESCRIPTION)
        artifacts_command.add_arguments(artifacts)
        artifacts_command.run(artifacts, given[1:])
    parsed = build_parser().parse_args(given)
    command: Callable[[argparse.Namespace], int] = parsed.command
    return command(parsed)


if __name__ == "__main__":
    sys.exit(main())
