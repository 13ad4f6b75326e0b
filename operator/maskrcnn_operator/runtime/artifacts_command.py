"""Command ``maskrcnn-operator artifacts``: results of an experiment of the cluster, or of all below a URL.

A name is resolved in the cluster to the URL of the experiment's workspace and to the stores by which it is reached.
Then this process becomes ``maskrcnn artifacts`` with that URL, and uses the credentials of its caller: no Secret is
read. The Kubernetes client is imported only for a name, so that URLs work without it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from maskrcnn_operator.api.base import EXPERIMENT_NAME_PATTERN
from maskrcnn_operator.local.artifacts import run_artifacts
from maskrcnn_trainer.errors import EXIT_OK, InvalidInput, TaskError
from maskrcnn_trainer.shared.variables import OBJECT_STORES_VARIABLE

LIST, DELETE = "list", "delete"
ACTIONS = (LIST, "get", "link", "clean", DELETE)
"""Actions of ``maskrcnn artifacts``."""
ARTIFACTS_DESCRIPTION = (
    "Work on the results of experiments in object storage, with your own credentials: those of the environment, or of "
    "--store-config. NAME is an experiment of the cluster, a step (EXPERIMENT/STEP), or a file of its results "
    "(EXPERIMENT/STEP/PATH); the kubeconfig is used to find its URL. With a URL in place of NAME, the cluster isn't "
    "used, and names follow the action, as in `maskrcnn artifacts URL get EXPERIMENT/STEP -o DIR`."
)
_HELP = frozenset({"-h", "--help"})


@dataclass(frozen=True)
class StoredResults:
    """Place of an experiment's results, and the way to it.

    Attributes:
        url: of the workspace.
        stores: value of MASKRCNN_OBJECT_STORES.
        namespace: of the experiment.
    """

    url: str
    stores: str
    namespace: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``artifacts`` to a parser, for its help; they are parsed by :func:`run`."""
    parser.add_argument("name", metavar="NAME", help="EXPERIMENT, EXPERIMENT/STEP, EXPERIMENT/STEP/PATH, or a URL")
    _add_flags(parser)
    parser.add_argument(
        "action",
        nargs="?",
        choices=ACTIONS,
        default=LIST,
        help="list, load, link, clean, or delete the results; its flags are those of `maskrcnn artifacts URL ACTION`",
    )


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n", "--namespace", metavar="NS", help="namespace of the experiment (default: that of the kubeconfig)"
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="kubeconfig file (default: KUBECONFIG, else ~/.kube/config)"
    )
    parser.add_argument("--context", metavar="CONTEXT", help="context of the kubeconfig (default: the current one)")
    parser.add_argument(
        "--store-config",
        type=Path,
        metavar="FILE",
        help="object stores: a list as in spec.objectStores, with secretDir; an entry replaces that of the experiment "
        "with the same prefix",
    )


def run(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> NoReturn:
    """Run the command.

    Args:
        parser: of the command, which prints the help and refuses flags.
        arguments: those behind ``artifacts``.

    Raises:
        SystemExit: the command is finished.
    """
    flags = type(parser)(prog=parser.prog, add_help=False, allow_abbrev=False)
    _add_flags(flags)
    # flags of an action remain, in their order
    known, rest = flags.parse_known_args(arguments)
    if not rest or rest[0] in _HELP:
        parser.print_help(sys.stdout if rest else sys.stderr)
        sys.exit(EXIT_OK if rest else InvalidInput.exit_code)
    if "://" in rest[0] or rest[0].startswith(("/", ".")):
        run_artifacts(arguments)
    try:
        action, flags_of_action = _action(rest)
        if _HELP & set(flags_of_action):
            run_artifacts(["s3://BUCKET", action, "--help"])
        found = _resolved(rest[0], known)
    except TaskError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        sys.exit(error.exit_code)
    guard = ["--owner-namespace", found.namespace] if action == DELETE else []
    run_artifacts([found.url, action, rest[0], *guard, *flags_of_action], {OBJECT_STORES_VARIABLE: found.stores})


def _action(rest: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the action behind a name, and the flags behind the action."""
    if len(rest) == 1 or rest[1].startswith("-"):
        return LIST, rest[1:]
    if rest[1] not in ACTIONS:
        raise InvalidInput(f"ACTION {rest[1]!r}: must be {', '.join(ACTIONS[:-1])}, or {ACTIONS[-1]}")
    if len(rest) > 2 and not rest[2].startswith("-"):
        raise InvalidInput(
            f"{rest[2]!r} can't follow {rest[1]}: write the name before it, as in EXPERIMENT/STEP {rest[1]}"
        )
    return rest[1], rest[2:]


def _resolved(name: str, known: argparse.Namespace) -> StoredResults:
    """Return the place of the results that a name of the command line is about.

    Raises:
        InvalidInput: the name or the flags are wrong, the experiment doesn't exist, or its results aren't in a store.
        TryAgain: the API server is unavailable.
    """
    experiment = name.partition("/")[0]
    if not re.fullmatch(EXPERIMENT_NAME_PATTERN, experiment):
        raise InvalidInput(f"NAME {name!r}: must begin with the name of an experiment, or be a URL, s3://BUCKET/PREFIX")
    try:
        from maskrcnn_operator.cluster.stored_results import experiment_object, results_of
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"NAME {name}: the Python package {error.name} isn't installed, without which no experiment is found in a "
            "cluster: install maskrcnn-operator[operator], or give the URL of the workspace"
        ) from None
    namespace, item = asyncio.run(
        experiment_object(experiment, known.namespace, kubeconfig=known.kubeconfig, context=known.context)
    )
    url, stores = results_of(item, known.store_config)
    return StoredResults(url, stores, namespace)
