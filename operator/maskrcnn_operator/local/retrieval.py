"""Names of results in object storage, and the command with which a user loads them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from maskrcnn_operator.api.base import WORKSPACE_MOUNT
from maskrcnn_operator.local.artifacts import ARTIFACTS

_WILDCARDS = "*?["


@dataclass(frozen=True)
class Retrieval:
    """Way to results in object storage, where an object's key isn't the path of the file.

    Attributes:
        url: of the workspace.
        store_config: file of ``--store-config``, or None.
    """

    url: str
    store_config: Path | None = None

    def command(self, name: str) -> str:
        """Return the command that loads results to a directory.

        Args:
            name: of an experiment, a step, or a file.
        """
        stores = () if self.store_config is None else ("--store-config", str(self.store_config))
        return shlex.join(("maskrcnn-operator", ARTIFACTS, self.url, "get", name, "-o", "DIR", *stores))

    def report_text(self, message: str) -> str:
        """Return the message about a step's report with the command that loads the page instead of its path."""
        before, _, name = message.partition(f" {WORKSPACE_MOUNT}/")
        return f"{before} is published; to load it, run {self.command(name)}" if name else message


def name_of_artifact(path: str) -> str | None:
    """Return the name of an artifact, ``EXPERIMENT/STEP/PATH``; None if it isn't in the workspace.

    Args:
        path: as the manifest would have it. That of a pattern has the name of its directory.
    """
    if not path.startswith(f"{WORKSPACE_MOUNT}/"):
        return None
    parts = path.removeprefix(f"{WORKSPACE_MOUNT}/").split("/")
    return "/".join(takewhile(lambda part: not any(character in part for character in _WILDCARDS), parts))
