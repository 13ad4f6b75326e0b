"""Mapping of the manifest's ``/workspace`` to a directory of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from maskrcnn_operator.api.base import WORKSPACE_MOUNT
from maskrcnn_operator.api.task_kinds import FILE_FIELDS
from maskrcnn_operator.core.merge import MODEL_FIELDS
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl, local_path
from maskrcnn_trainer.shared.variables import VARIABLE_PREFIX
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.experiment import ExperimentSpec

MOUNTED = rf"(?<![\w./-]){WORKSPACE_MOUNT}(?![\w.-]|/\.\.\.)"
"""Pattern of the manifest's ``/workspace`` in a text."""

_SPECIAL = "*?[],"

Place = TypeVar("Place", Path, ObjectUrl)


class LocalWorkspace:
    """Directory that the manifest calls ``/workspace``; symbolic links in it are followed.

    Attributes:
        directory: absolute path.
        url: None; a workspace in object storage has a URL.

    Raises:
        InvalidInput: the path has a character with a meaning in file patterns or lists of them.
    """

    url: str | None = None

    def __init__(self, directory: Path) -> None:
        self.directory = without_wildcards(directory.absolute(), "--workspace")

    def home(self, experiment: str) -> Path:
        """Return the directory of a run's own files: status, lock, and logs of attempts without a directory."""
        return self.experiment_directory(experiment)

    def results_argument(self, experiment: str, step: str) -> str:
        """Return the results directory of a step, as its task gets it."""
        return str(self.step_directory(experiment, step))

    def to_local(self, path: str) -> str:
        """Return a path of the manifest as a path of this machine.

        A URL of a file is its path; other URLs and paths outside ``/workspace`` are unchanged.
        """
        path = local_path(path) or path
        if path == WORKSPACE_MOUNT or path.startswith(WORKSPACE_MOUNT + "/"):
            return str(self.directory) + path[len(WORKSPACE_MOUNT) :]
        return path

    def to_manifest(self, path: str) -> str:
        """Return a path of this machine as a path of the manifest; the inverse of :meth:`to_local`."""
        own = str(self.directory)
        if path == own or path.startswith(own + "/"):
            return WORKSPACE_MOUNT + path[len(own) :]
        return path

    def in_manifest_form(self, text: str) -> str:
        """Return a text in which this machine's paths are replaced by the manifest's."""
        # after a letter or digit it is a part of a key of a URL
        return re.sub(rf"(?<!\w){re.escape(str(self.directory))}/", f"{WORKSPACE_MOUNT}/", text)

    def in_local_form(self, text: str) -> str:
        """Return a text in which the manifest's paths are replaced by those that a user can open.

        They are relative if the workspace is in the current directory or below it.
        """
        return re.sub(MOUNTED, lambda _: shown_path(self.directory), text)

    def experiment_directory(self, experiment: str) -> Path:
        """Return the directory of an experiment, which holds those of its steps."""
        return self.directory / experiment

    def step_directory(self, experiment: str, step: str) -> Path:
        """Return the results directory of a step."""
        return self.directory / experiment / step

    def localized(self, spec: ExperimentSpec) -> dict[str, Any]:
        """Return the spec as YAML values with camelCase names, its paths replaced by this machine's."""
        # without defaults, which would count as given
        content: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        self._replace(content, [dotted((name,)) for name in MODEL_FIELDS])
        self._replace(content["dataConfig"], [dotted((name,)) for name in FILE_FIELDS])
        return content

    def _replace(self, part: dict[str, Any], names: list[str]) -> None:
        for name in names:
            if part.get(name):
                pieces = part[name].split(",") if name.endswith("Pattern") else [part[name]]
                part[name] = ",".join(self.to_local(piece.strip()) for piece in pieces)


def shown_path(path: Path) -> str:
    """Return a path as messages show it: relative if it is in the current directory or below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def without_wildcards(place: Place, flag: str) -> Place:
    """Return a path or URL below which patterns are formed.

    Raises:
        InvalidInput: it has a character with a meaning in file patterns or lists of them.
    """
    if any(character in str(place) for character in _SPECIAL):
        kind = "path" if isinstance(place, Path) else "URL"
        raise InvalidInput(f"{flag} {place}: the {kind} must not contain any of {_SPECIAL}")
    return place


def without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that configure tasks (``MASKRCNN_*``)."""
    return {name: value for name, value in environ.items() if not name.startswith(VARIABLE_PREFIX)}
