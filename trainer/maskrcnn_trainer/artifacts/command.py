"""``maskrcnn artifacts``: results of experiments below a URL of an object store."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from maskrcnn_trainer.artifacts.cleaning_up import clean_results, cleaning_lines
from maskrcnn_trainer.artifacts.deleting import check_namespace, delete_results, question
from maskrcnn_trainer.artifacts.getting import get_results
from maskrcnn_trainer.artifacts.linking import link_to_file
from maskrcnn_trainer.artifacts.listing import list_results
from maskrcnn_trainer.artifacts.names import FORM_OF_NAME, ArtifactName, parse_name, printable
from maskrcnn_trainer.artifacts.overview import shown_size
from maskrcnn_trainer.artifacts.reading import read_overview
from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.object_store.fence_store import FenceStore, open_fence_store
from maskrcnn_trainer.object_store.task_inputs import staging_settings
from maskrcnn_trainer.shared.object_url import STORE_SCHEMES, is_url, parse_url
from maskrcnn_trainer.task.arguments import TaskParser
from maskrcnn_trainer.task.output import write_output
from maskrcnn_trainer.task.stopping import StopRequest

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command and of its actions."""
    parser.add_argument("url", metavar="URL", help="URL of all experiments, as run --workspace has it")
    _add_store_config(parser, default=None)
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", parser_class=TaskParser)

    def add(name: str, run: Callable[[argparse.Namespace], int], description: str) -> Any:
        action = actions.add_parser(name, help=_first_sentence(description), description=description)
        _add_store_config(action, default=argparse.SUPPRESS)
        action.set_defaults(run=run)
        return action

    listing = add("list", _list, "List experiments and steps: owner, number of files, and size of the results.")
    listing.add_argument("name", nargs="?", metavar="NAME", help=f"{FORM_OF_NAME} (default: all experiments)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    getting = add("get", _get, "Load results to a directory, verified; an interrupted call is continued by the next.")
    getting.add_argument("name", metavar="NAME", help=FORM_OF_NAME)
    getting.add_argument("-o", "--output", required=True, metavar="DIR", help="directory for the files below NAME")
    getting.add_argument("--overwrite", action="store_true", help="replace files in DIR that have another content")
    linking = add("link", _link, "Print a URL by which anybody can read one file for an hour.")
    linking.add_argument("name", metavar="NAME", help="EXPERIMENT/STEP/PATH of a file")
    cleaning = add(
        "clean",
        _clean,
        "Delete objects that no results name any more. Those that it finds are deleted by another call an hour later. "
        "Objects of the newest attempt are found only once it has published its result, an hour after its last "
        "publish. A running attempt keeps its step and cleans it itself; what one that ended without a result has left "
        "is deleted by the next attempt, or by delete.",
    )
    cleaning.add_argument(
        "name", nargs="?", metavar="NAME", help="EXPERIMENT or EXPERIMENT/STEP (default: all experiments)"
    )
    deleting = add(
        "delete",
        _delete,
        "Delete the results of an experiment. A running attempt ends with exit code 75 at its next publish, and its "
        "step fails without another attempt. One small object of the experiment and one of each step remain, so that "
        "no late request brings anything back.",
    )
    deleting.add_argument("name", metavar="NAME", help="EXPERIMENT")
    deleting.add_argument("--yes", action="store_true", help="don't ask")
    deleting.add_argument(
        "--owner-namespace",
        metavar="NS",
        help="refuse to delete results whose owner is of another namespace (default: delete those of any owner)",
    )
    deleting.add_argument(
        "--purge",
        action="store_true",
        help="remove the small objects as well; only for an experiment of which no process runs any more",
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
    if found.absent:
        raise InvalidInput(found.absent, reason="NotPublished")
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
    if not arguments.yes or arguments.owner_namespace is not None:
        with _store(arguments) as store:
            found = read_overview(store, name)
        check_namespace(found, name, arguments.owner_namespace)
        if not arguments.yes and not _is_confirmed(question(found, name, arguments.url)):
            log.info("Nothing was deleted")
            return EXIT_OK
    with _store(arguments) as store:
        done = delete_results(store, name, purge=arguments.purge)
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
