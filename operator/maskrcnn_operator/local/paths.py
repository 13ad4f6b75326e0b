"""``/workspace`` of the manifest as a directory of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_operator.api.base import WORKSPACE_MOUNT
from maskrcnn_operator.api.task_kinds import FILE_FIELDS
from maskrcnn_operator.core.merge import MODEL_FIELDS
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.variables import VARIABLE_PREFIX
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.experiment import ExperimentSpec

_MOUNTED = re.compile(rf"(?<![\w./-]){WORKSPACE_MOUNT}(?![\w.-]|/\.\.\.)")
_SPECIAL = "*?[],"


class LocalWorkspace:
    """The directory that stands for ``/workspace``; symbolic links in it are followed.

    Raises:
        InvalidInput: its path holds a character that file patterns give a meaning to.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        if any(character in str(self.directory) for character in _SPECIAL):
            raise InvalidInput(f"--workspace {self.directory}: the path must be without the characters {_SPECIAL}")

    def to_local(self, path: str) -> str:
        """A path of the manifest as this machine has it; paths outside ``/workspace`` stay."""
        if path == WORKSPACE_MOUNT or path.startswith(WORKSPACE_MOUNT + "/"):
            return str(self.directory) + path[len(WORKSPACE_MOUNT) :]
        return path

    def to_manifest(self, path: str) -> str:
        """Undoes :meth:`to_local`."""
        own = str(self.directory)
        if path == own or path.startswith(own + "/"):
            return WORKSPACE_MOUNT + path[len(own) :]
        return path

    def in_manifest_form(self, text: str) -> str:
        """A message with the paths in it as the manifest has them."""
        return text.replace(f"{self.directory}/", f"{WORKSPACE_MOUNT}/")

    def in_local_form(self, text: str) -> str:
        """A message with the paths in it as the user has them: relative where that is below the current directory."""
        relative = os.path.relpath(self.directory)
        shown = str(self.directory) if relative.startswith("..") else relative
        return _MOUNTED.sub(lambda _: shown, text)

    def experiment_directory(self, experiment: str) -> Path:
        """Where everything of an experiment is."""
        return self.directory / experiment

    def step_directory(self, experiment: str, step: str) -> Path:
        """Where a step writes its results."""
        return self.directory / experiment / step

    def localised(self, spec: ExperimentSpec) -> dict[str, Any]:
        """The spec as YAML values in camelCase, every path in it as this machine has it."""
        content: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        self._replace(content, [dotted((name,)) for name in MODEL_FIELDS])
        self._replace(content["dataConfig"], [dotted((name,)) for name in FILE_FIELDS])
        return content

    def _replace(self, part: dict[str, Any], names: list[str]) -> None:
        for name in names:
            if part.get(name):
                pieces = part[name].split(",") if name.endswith("Pattern") else [part[name]]
                part[name] = ",".join(self.to_local(piece.strip()) for piece in pieces)


def without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables by which tasks are told what to do."""
    return {name: value for name, value in environ.items() if not name.startswith(VARIABLE_PREFIX)}
