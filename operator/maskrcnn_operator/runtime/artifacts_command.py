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
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from maskrcnn_operator.api.base import EXPERIMENT_NAME_PATTERN
from maskrcnn_operator.local.artifacts import run_artifacts
from maskrcnn_operator.local.owner_arguments import owner_id_argument
from maskrcnn_trainer.errors import EXIT_OK, InvalidInput, TaskError
from maskrcnn_trainer.shared.artifact_actions import ArtifactAction, add_action_flags
from maskrcnn_trainer.shared.variables import OBJECT_STORES_VARIABLE

if TYPE_CHECKING:
    from maskrcnn_operator.cluster.stored_results import StoredResults

ARTIFACTS_DESCRIPTION = (
    "Work on the results of experiments in object storage, with your own credentials: those of the environment, or of "
    "--store-config. NAME is an experiment of the cluster, a step (EXPERIMENT/STEP), or a file of its results "
    "(EXPERIMENT/STEP/PATH); the kubeconfig is used to find its URL. With a URL in place of NAME, the cluster isn't "
    "used, and names follow the action, as in `maskrcnn artifacts URL get EXPERIMENT/STEP -o DIR`. By name, delete "
    "takes only results of the namespace, which it recognizes by the namespace's uid, or by --owner-id, the chart's "
    "objectStorage.ownerId."
)
_ACTIONS = tuple(ArtifactAction)
_HELP = frozenset({"-h", "--help"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``artifacts`` to a parser, for its help; they are parsed by :func:`run`."""
    parser.add_argument("name", metavar="NAME", help="EXPERIMENT, EXPERIMENT/STEP, EXPERIMENT/STEP/PATH, or a URL")
    _add_flags(parser)
    parser.add_argument(
        "action",
        nargs="?",
        choices=_ACTIONS,
        default=ArtifactAction.LIST,
        help="list, load, link, clean, or delete the results; `NAME ACTION --help` has its flags",
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
    try:
        if "://" in rest[0] or rest[0].startswith(("/", ".")):
            _refuse_cluster_flags(known)
            run_artifacts(arguments)
        name, action, flags_of_action = _split(rest)
        given = _parser_of(action, parser).parse_args(flags_of_action)
        by_uid = action is ArtifactAction.DELETE and given.owner_id is None
        found = _resolved(name, known, with_owner=by_uid)
    except TaskError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        sys.exit(error.exit_code)
    guard = ["--owner-namespace", found.namespace] if action is ArtifactAction.DELETE else []
    if found.owner_id is not None:
        guard += ["--owner-id", found.owner_id]
    run_artifacts([found.url, action, name, *guard, *flags_of_action], {OBJECT_STORES_VARIABLE: found.stores})


def _parser_of(action: ArtifactAction, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return the parser of what follows a name and an action."""
    prog, description = f"{parser.prog} NAME {action}", action.description
    by_name = type(parser)(prog=prog, description=description, allow_abbrev=False)
    _add_flags(by_name)
    add_action_flags(by_name, action)
    if action is ArtifactAction.DELETE:
        by_name.add_argument(
            "--owner-id",
            type=owner_id_argument,
            metavar="ID",
            help="the chart's objectStorage.ownerId; results of another owner, or of another namespace, are refused "
            "(default: the uid of the namespace, which needs get on it)",
        )
    return by_name


def _refuse_cluster_flags(known: argparse.Namespace) -> None:
    """Check that no flag chooses a cluster next to a URL.

    Raises:
        InvalidInput: one does.
    """
    given = {"-n": known.namespace, "--kubeconfig": known.kubeconfig, "--context": known.context}
    for flag, value in given.items():
        if value is not None:
            raise InvalidInput(
                f"{flag} {value}: with a URL the cluster isn't used; leave {flag} out, and write names after the "
                "action, as in `artifacts URL delete EXPERIMENT`"
            )


def _split(rest: Sequence[str]) -> tuple[str, ArtifactAction, Sequence[str]]:
    """Return a name, the action behind it, and the flags behind the action.

    Raises:
        InvalidInput: the name is missing, or something else is in its place or in that of the action.
    """
    name, *behind = rest
    if name in _ACTIONS and (not behind or behind[0].startswith("-")):
        if _HELP & set(behind):
            return name, ArtifactAction(name), behind
        raise InvalidInput(
            f"NAME is missing before {name}: write EXPERIMENT {name}, or, for an experiment that is named {name}, "
            f"{name} {name}"
        )
    if not behind or behind[0].startswith("-"):
        return name, ArtifactAction.LIST, behind
    if behind[0] not in _ACTIONS:
        raise InvalidInput(f"ACTION {behind[0]!r}: must be {', '.join(_ACTIONS[:-1])}, or {_ACTIONS[-1]}")
    if len(behind) > 1 and not behind[1].startswith("-"):
        raise InvalidInput(
            f"{behind[1]!r} can't follow {behind[0]}: write the name before it, as in EXPERIMENT/STEP {behind[0]}"
        )
    return name, ArtifactAction(behind[0]), behind[1:]


def _resolved(name: str, known: argparse.Namespace, *, with_owner: bool) -> StoredResults:
    """Return the place of the results that a name of the command line is about.

    Raises:
        InvalidInput: the name or the flags are wrong, the experiment doesn't exist, or its results aren't in a store.
        TryAgain: the API server is unavailable.
    """
    experiment = name.partition("/")[0]
    if not re.fullmatch(EXPERIMENT_NAME_PATTERN, experiment):
        raise InvalidInput(f"NAME {name!r}: must begin with the name of an experiment, or be a URL, s3://BUCKET/PREFIX")
    try:
        from maskrcnn_operator.cluster.stored_results import ClusterFlags, find_results
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"NAME {name}: the Python package {error.name} isn't installed, without which no experiment is found in a "
            "cluster: install maskrcnn-operator[operator], or use the URL of its workspace, without -n: `artifacts URL "
            "ACTION NAME`"
        ) from None
    flags = ClusterFlags(known.namespace, known.kubeconfig, known.context)
    return asyncio.run(find_results(experiment, flags, known.store_config, with_owner=with_owner))
