"""Workspace of a local run in object storage, with the files of the run in a state directory of this machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_operator.api.base import WORKSPACE_MOUNT
from maskrcnn_operator.local.paths import MOUNTED, LocalWorkspace, without_wildcards
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl, local_path

WORKING_FILES = ".working"
"""Folder in the state directory in which tasks write before their results are published."""

_STATE_HOME_VARIABLE = "XDG_STATE_HOME"


class StoreWorkspace(LocalWorkspace):
    """URL that the manifest calls ``/workspace``.

    Attributes:
        directory: where tasks write before their results are published.
        url: the URL as text.
        state_dir: directory of the run's own files.

    Raises:
        InvalidInput: the URL or the path has a character with a meaning in file patterns or lists of them.
    """

    def __init__(self, url: ObjectUrl, state_dir: Path) -> None:
        self.url: str = str(without_wildcards(url, "--workspace"))
        self.state_dir = without_wildcards(state_dir.absolute(), "--state-dir")
        self.directory = self.state_dir / WORKING_FILES

    def home(self, experiment: str) -> Path:  # noqa: ARG002 - a state directory is that of one experiment
        """Return the state directory."""
        return self.state_dir

    def results_argument(self, experiment: str, step: str) -> str:
        """Return the URL of a step's results; ``maskrcnn launch`` replaces it by a directory of this machine."""
        return f"{self.experiment_url(experiment)}/{step}"

    def experiment_url(self, experiment: str) -> str:
        """Return the URL of an experiment's results."""
        return f"{self.url}/{experiment}"

    def to_local(self, path: str) -> str:
        """Return the path of a URL of a file; other URLs and paths are unchanged, also those below ``/workspace``.

        The task reads them from the store.
        """
        return local_path(path) or path

    def in_manifest_form(self, text: str) -> str:
        """Return the text unchanged: what it has of this machine's paths are working files, not published ones."""
        return text

    def in_local_form(self, text: str) -> str:
        """Return a text in which ``/workspace`` is replaced by the URL, but not in paths of the run's own files."""
        # their names begin with a dot, and no name of an experiment does
        own = re.escape(f"{self.state_dir}/.")
        return re.sub(f"{own}|{MOUNTED}", lambda found: self.url if found[0] == WORKSPACE_MOUNT else found[0], text)


@dataclass(frozen=True)
class StoreOptions:
    """Options of a run whose workspace is in object storage.

    Attributes:
        state_dir: value of ``--state-dir``; None for the default.
        owner_id: value of ``--owner-id``; None for that of MASKRCNN_OWNER_ID, or else the recorded one.
        take_over_from: value of ``--take-over-from``; None to replace no other owner.
    """

    state_dir: Path | None = None
    owner_id: str | None = None
    take_over_from: str | None = None


def workspace_of(
    workspace: Path | ObjectUrl, experiment: str, options: StoreOptions, environ: Mapping[str, str]
) -> LocalWorkspace:
    """Return the workspace that ``--workspace`` names.

    Args:
        workspace: a directory, or a URL of an object store.
        experiment: name of the experiment.
        options: of the command line.
        environ: of this process.

    Raises:
        InvalidInput: an option has no effect with a directory, the home directory is unknown, or the path or URL has a
            character with a meaning in file patterns.
    """
    if isinstance(workspace, ObjectUrl):
        return StoreWorkspace(workspace, options.state_dir or default_state_dir(workspace, experiment, environ))
    for flag, value in (
        ("--state-dir", options.state_dir),
        ("--owner-id", options.owner_id),
        ("--take-over-from", options.take_over_from),
    ):
        if value is not None:
            raise InvalidInput(f"{flag} {value}: it is for a --workspace in object storage; leave it out")
    return LocalWorkspace(workspace)


def default_state_dir(url: ObjectUrl, experiment: str, environ: Mapping[str, str]) -> Path:
    """Return the state directory of an experiment: ``~/.local/state/maskrcnn/<SHA-256 of the URL>/<experiment>``.

    XDG_STATE_HOME replaces ``~/.local/state``; a relative path in it is ignored, as its specification requires
    (https://specifications.freedesktop.org/basedir-spec/latest/).

    Raises:
        InvalidInput: the home directory is unknown.
    """
    given = Path(environ.get(_STATE_HOME_VARIABLE) or ".")
    try:
        home = given if given.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        raise InvalidInput("--state-dir is missing: this user has no home directory, so give a directory") from None
    return home / "maskrcnn" / hashlib.sha256(str(url).encode()).hexdigest() / experiment
