"""Steps next to one that runs in a working directory, while the results of all others are in object storage."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskrcnn_trainer.shared.messages import RESULT_FILE
from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.spec.task_table import METRICS_FILE
from maskrcnn_trainer.staging.workspace_inputs import WorkspaceInStore
from maskrcnn_trainer.task.staged_inputs import staged_inputs
from maskrcnn_trainer.task.workspace import manifest_path

OF_OTHERS = frozenset({RESULT_FILE, METRICS_FILE})
"""Files that are loaded of a step whose results the task doesn't read; both are small."""


@dataclass(frozen=True)
class SiblingsInStore:
    """Steps of an experiment around one of them.

    Attributes:
        experiment: path of its directory, below ``/workspace``.
        own: name of the step in the working directory.
        read: names of the steps whose results its task reads, of which all is loaded that a page shows.
    """

    experiment: str
    own: str
    read: frozenset[str]

    @property
    def copy(self) -> Path | None:
        """Return the directory with what is loaded of the steps; None: nothing is."""
        path = staged_inputs().paths.get(self.experiment)
        return Path(path) if path is not None else None


def siblings_in_store(directory: Path) -> SiblingsInStore | None:
    """Return the steps around the one of a results directory; None if they are on this machine.

    Args:
        directory: results directory of a step, or another one.
    """
    workspace = WorkspaceInStore.from_environ(os.environ)
    experiment, _, own = manifest_path(directory.absolute()).rpartition("/")
    if workspace is None or PurePosixPath(experiment).parent != PurePosixPath(WORKSPACE_MOUNT):
        return None
    below = f"{experiment}/"
    of_inputs = (one.removeprefix(below) for one in staged_inputs().paths if one.startswith(below))
    read = {*workspace.fingerprints, *(one.partition("/")[0] for one in of_inputs)}
    return SiblingsInStore(experiment, own, frozenset(read))
