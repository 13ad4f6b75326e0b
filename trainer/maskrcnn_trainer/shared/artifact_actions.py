"""Actions on the results of experiments in object storage, and the flags that both command lines have.

The actions of ``maskrcnn artifacts URL ACTION NAME`` are also those of ``maskrcnn-operator artifacts NAME ACTION``.
"""

from __future__ import annotations

import argparse
from enum import StrEnum


class ArtifactAction(StrEnum):
    """Name of an action on the command line."""

    LIST = "list"
    GET = "get"
    LINK = "link"
    CLEAN = "clean"
    DELETE = "delete"

    @property
    def description(self) -> str:
        """Return the sentences for the help; the first one is the summary."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    ArtifactAction.LIST: "List experiments and steps: owner, number of files, and size of the results.",
    ArtifactAction.GET: "Load results to a directory, verified; an interrupted call is continued by the next.",
    ArtifactAction.LINK: "Print a URL by which anybody can read one file for an hour.",
    ArtifactAction.CLEAN: "Delete objects that no results name any more. Those that it finds are deleted by another "
    "call an hour later. Objects of the newest attempt are found only once it has published its result, an hour after "
    "its last publish. A running attempt keeps its step and cleans it itself; what one that ended without a result has "
    "left is deleted by the next attempt, or by delete.",
    ArtifactAction.DELETE: "Delete the results of an experiment. A running attempt ends with exit code 75 at its next "
    "publish, and its step fails without another attempt. One small object of the experiment and one of each step "
    "remain, so that no late request brings anything back.",
}


def add_action_flags(parser: argparse.ArgumentParser, action: ArtifactAction) -> None:
    """Add the flags of an action, apart from those that name the store, the experiment, and the owner."""
    match action:
        case ArtifactAction.LIST:
            parser.add_argument("--json", action="store_true", help="print JSON")
        case ArtifactAction.GET:
            parser.add_argument(
                "-o", "--output", required=True, metavar="DIR", help="directory for the files below NAME"
            )
            parser.add_argument(
                "--overwrite", action="store_true", help="replace files in DIR that have another content"
            )
        case ArtifactAction.DELETE:
            parser.add_argument("--yes", action="store_true", help="don't ask")
            parser.add_argument(
                "--purge",
                action="store_true",
                help="remove the small objects as well; only for an experiment of which no process runs any more",
            )
