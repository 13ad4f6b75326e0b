"""``maskrcnn artifacts``: results of experiments below a URL of an object store."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from maskrcnn_trainer.artifacts.cleaning_up import clean_results, cleaning_lines
from maskrcnn_trainer.artifacts.deleting import delete_results, question, refuse_other_owner
from maskrcnn_trainer.artifacts.getting import get_results
from maskrcnn_trainer.artifacts.linking import link_to_file
from maskrcnn_trainer.artifacts.listing import list_results
from maskrcnn_trainer.artifacts.names import FORM_OF_NAME, ArtifactName, parse_name, printable
from maskrcnn_trainer.artifacts.overview import shown_size
from maskrcnn_trainer.artifacts.reading import read_overview
from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity
from maskrcnn_trainer.object_store.fence_store import FenceStore, open_fence_store
from maskrcnn_trainer.shared.artifact_actions import ArtifactAction, add_action_flags
from maskrcnn_trainer.shared.object_url import STORE_SCHEMES, is_url, parse_url
from maskrcnn_trainer.staging.task_inputs import staging_settings
from maskrcnn_trainer.task.arguments import TaskParser
from maskrcnn_trainer.task.output import write_output
from maskrcnn_trainer.task.stopping import StopRequest

log = logging.getLogger(__name__)

_FORMS = {
    ArtifactAction.LIST: f"{FORM_OF_NAME} (default: all experiments)",
    ArtifactAction.GET: FORM_OF_NAME,
    ArtifactAction.LINK: "EXPERIMENT/STEP/PATH of a file",
    ArtifactAction.CLEAN: "EXPERIMENT or EXPERIMENT/STEP (default: all experiments)",
    ArtifactAction.DELETE: "EXPERIMENT",
}
"""Forms of NAME."""
_FOR_ALL_EXPERIMENTS = (ArtifactAction.LIST, ArtifactAction.CLEAN)
"""Actions whose NAME may be left out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command and of its actions."""
    parser.add_argument("url", metavar="URL", help="URL of all experiments, as run --workspace has it")
    _add_store_config(parser, default=None)
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", parser_class=TaskParser)

    runs: Mapping[ArtifactAction, Callable[[argparse.Namespace], int]] = {
        ArtifactAction.LIST: _list,
        ArtifactAction.GET: _get,
        ArtifactAction.LINK: _link,
        ArtifactAction.CLEAN: _clean,
        ArtifactAction.DELETE: _delete,
    }
    for name, run in runs.items():
        action = actions.add_parser(name, help=_first_sentence(name.description), description=name.description)
        _add_store_config(action, default=argparse.SUPPRESS)
        number = "?" if name in _FOR_ALL_EXPERIMENTS else None
        action.add_argument("name", nargs=number, metavar="NAME", help=_FORMS[name])
        add_action_flags(action, name)
        action.set_defaults(run=run)
        if name is ArtifactAction.DELETE:
            _add_owner(action)


def _add_owner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--owner-id",
        metavar="ID",
        help="refuse to delete results of another owner than this one (default: delete those of any owner)",
    )
    parser.add_argument(
        "--owner-namespace",
        metavar="NS",
        help="namespace of that owner, for an experiment of a cluster (default: none, for a run without a cluster)",
    )


def _first_sentence(description: str) -> str:
    sentence = description.partition(". ")[0].removesuffix(".")
    return sentence[0].lower() + sentence[1:]


def _add_store_config(parser: argparse.ArgumentParser, *, default: Any) -> None:
    parser.add_argument(
        "--store-config",
        metavar="FILE",
        default=default,
        help="object stores: a list as in spec.objectStores, with secretDir",
    )


@contextlib.contextmanager
def _store(arguments: argparse.Namespace) -> Iterator[FenceStore]:
    """Open the store of the command line; a signal ends the block with Stopped."""
    url = parse_url(arguments.url, "URL") if is_url(arguments.url) else None
    if url is None or url.scheme not in STORE_SCHEMES:
        raise InvalidInput(
            f"URL: must begin with {', '.join(f'{scheme}://' for scheme in STORE_SCHEMES[:-1])}, or "
            f"{STORE_SCHEMES[-1]}://: results in a directory need no command",
            reason="InvalidCommandLine",
        )
    settings = staging_settings(arguments)
    with (
        StopRequest() as stop,
        open_fence_store(
            url,
            settings.stores,
            settings.environment,
            stop=lambda: stop.asked,
            on_wait=lambda sentence: log.warning("%s", sentence),
        ) as store,
    ):
        yield store


def _name(arguments: argparse.Namespace) -> ArtifactName | None:
    text = getattr(arguments, "name", None)
    return None if text is None else parse_name(text)


def _warn_if_incomplete(url: str, *, complete: bool) -> None:
    if not complete:
        log.warning("%s has keys that can't be listed, with an empty part or a control character", url)


def _list(arguments: argparse.Namespace) -> int:
    name = _name(arguments)
    with _store(arguments) as store:
        found = list_results(store, name)
    _warn_if_incomplete(arguments.url, complete=found.overview.complete)
    if getattr(arguments, "json", False):
        # a program, such as maskrcnn-operator run, finds by the document that an experiment is absent
        write_output(json.dumps(found.document, indent=2) + "\n")
        return EXIT_OK
    if absence := found.absence(arguments.url):
        raise InvalidInput(absence, reason="NotPublished")
    write_output(found.table)
    return EXIT_OK


def _get(arguments: argparse.Namespace) -> int:
    name = parse_name(arguments.name)
    directory = Path(arguments.output)
    with _store(arguments) as store:
        done = get_results(store, name, directory, overwrite=arguments.overwrite)
    log.info(
        "%s: %s files, %s (%s loaded)", directory, f"{done.files:,}", shown_size(done.size), shown_size(done.loaded)
    )
    return EXIT_OK


def _link(arguments: argparse.Namespace) -> int:
    name = parse_name(arguments.name)
    with _store(arguments) as store:
        url = link_to_file(store, name)
    write_output(f"{url}\n")
    return EXIT_OK


def _clean(arguments: argparse.Namespace) -> int:
    name = _name(arguments)
    if name is not None and name.path is not None:
        raise InvalidInput(f"NAME {name}: give EXPERIMENT or EXPERIMENT/STEP", reason="InvalidCommandLine")
    with _store(arguments) as store:
        cleaned = clean_results(store, name)
    _warn_if_incomplete(arguments.url, complete=cleaned.complete)
    write_output(cleaning_lines(cleaned))
    if any(one.forbidden for one in cleaned.steps.values()):
        log.warning("%s: the store doesn't permit deletions; grant the permission to delete objects", arguments.url)
    if cleaned.problems:
        raise InvalidInput(
            "These steps are damaged and can't be cleaned: "
            + "; ".join(f"{step} ({printable(why)})" for step, why in cleaned.problems.items()),
            reason="StoreRefused",
        )
    return EXIT_OK


def _delete(arguments: argparse.Namespace) -> int:
    name = parse_name(arguments.name)
    owner = _owner(arguments, name)
    if not arguments.yes:
        with _store(arguments) as store:
            found = read_overview(store, name)
        if owner is not None:
            refuse_other_owner(found, name, owner)
        if not _is_confirmed(question(found, name, arguments.url)):
            log.info("Nothing was deleted")
            return EXIT_OK
    with _store(arguments) as store:
        done = delete_results(store, name, owner=owner, purge=arguments.purge)
    for step, one in done.steps.items():
        if one.left_to is not None:
            log.warning("Step %s belongs to a later owner of the experiment and is left", step)
    if done.failures:
        raise InvalidInput(
            f"{name} isn't deleted as a whole: {'; '.join(done.failures)}; correct this, and delete it again",
            reason="StoreRefused",
        )
    if arguments.purge and not done.purged:
        log.warning("The small objects of %s are left: another process has written one of them, or forbids it", name)
    log.info("%s is deleted: %s objects of %s steps", name, f"{done.deleted:,}", f"{len(done.steps):,}")
    return EXIT_OK


def _owner(arguments: argparse.Namespace, name: ArtifactName) -> OwnerIdentity | None:
    """Return the owner whose results may be deleted; None for any."""
    if arguments.owner_id is None:
        if arguments.owner_namespace is not None:
            raise InvalidInput(
                f"--owner-namespace {arguments.owner_namespace}: add --owner-id, as a namespace of another cluster can "
                "have the same name",
                reason="InvalidCommandLine",
            )
        return None
    return OwnerIdentity(arguments.owner_id, arguments.owner_namespace or "", name.experiment)


def _is_confirmed(text: str) -> bool:
    """Ask at the terminal, and return whether the answer is yes.

    Raises:
        InvalidInput: standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise InvalidInput("delete asks before it deletes, and standard input is not a terminal: add --yes")
    sys.stderr.write(text)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
