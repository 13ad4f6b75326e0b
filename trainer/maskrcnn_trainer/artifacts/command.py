"""``maskrcnn artifacts``: results of experiments below a URL of an object store."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

from maskrcnn_trainer.artifacts.listing import list_results
from maskrcnn_trainer.artifacts.names import ArtifactName, parse_name
from maskrcnn_trainer.errors import EXIT_OK, InvalidInput
from maskrcnn_trainer.object_store.fence_store import FenceStore, open_fence_store
from maskrcnn_trainer.object_store.task_inputs import staging_settings
from maskrcnn_trainer.shared.object_url import STORE_SCHEMES, parse_url
from maskrcnn_trainer.task.arguments import TaskParser
from maskrcnn_trainer.task.output import write_output
from maskrcnn_trainer.task.stopping import StopRequest

log = logging.getLogger(__name__)

_NAME_HELP = "EXPERIMENT or EXPERIMENT/STEP; without it, all experiments"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command and of its actions."""
    parser.add_argument("url", metavar="URL", help="URL of all experiments, as run --workspace has it")
    _add_store_config(parser, default=None)
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", parser_class=TaskParser)

    def add(name: str, run: Callable[[argparse.Namespace], int], description: str) -> Any:
        action = actions.add_parser(name, help=description[0].lower() + description[1:-1], description=description)
        _add_store_config(action, default=argparse.SUPPRESS)
        action.set_defaults(run=run)
        return action

    listing = add("list", _list, "List experiments and steps: owner, files, and size of the results.")
    listing.add_argument("name", nargs="?", metavar="NAME", help=_NAME_HELP)
    listing.add_argument("--json", action="store_true", help="print JSON")


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
    url = parse_url(arguments.url, "URL")
    if url.scheme not in STORE_SCHEMES:
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


def _list(arguments: argparse.Namespace) -> int:
    name = _name(arguments)
    with _store(arguments) as store:
        found = list_results(store.sender(), name)
    if not found.overview.complete:
        log.warning("%s has keys that can't be listed, with an empty part or a control character", arguments.url)
    if getattr(arguments, "json", False):
        write_output(json.dumps(found.document, indent=2) + "\n")
    else:
        write_output(found.table)
    return EXIT_OK
