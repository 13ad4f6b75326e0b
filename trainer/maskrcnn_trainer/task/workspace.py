"""Mapping between ``/workspace`` and the real directory of the workspace.

In a cluster every step sees the workspace at ``/workspace``. A local run has it in a directory of the user's choice,
which ``MASKRCNN_WORKSPACE`` names. Files that outlive the run (results, models) contain ``/workspace`` paths in both
cases, so that they are valid on any machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_trainer.shared.object_url import is_url, local_path
from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.shared.variables import WORKSPACE_URL_VARIABLE, WORKSPACE_VARIABLE
from maskrcnn_trainer.spelling import with_urls
from maskrcnn_trainer.task.staged_inputs import staged_file


def real_path(path: str) -> Path:
    """Return the real path of ``path``: that of the copy for a URL, and below the workspace for ``/workspace``."""
    if (copy := staged_file(path)) is not None:
        return copy
    directory = os.environ.get(WORKSPACE_VARIABLE)
    if directory and (path == WORKSPACE_MOUNT or path.startswith(WORKSPACE_MOUNT + "/")):
        return Path(directory + path[len(WORKSPACE_MOUNT) :])
    return Path(path)


def is_path(written: str) -> bool:
    """Return whether an input is a path of this machine: no URL, and not below ``/workspace`` where that is a URL."""
    if is_url(written):
        return False
    in_workspace = written == WORKSPACE_MOUNT or written.startswith(WORKSPACE_MOUNT + "/")
    return not (in_workspace and os.environ.get(WORKSPACE_URL_VARIABLE))


def is_in_store(written: str) -> bool:
    """Return whether an input is read from object storage."""
    return not is_path(written) and local_path(written) is None


def manifest_path(path: str | Path) -> str:
    """Return a path below ``$MASKRCNN_WORKSPACE`` as a ``/workspace`` path, and that of an input's copy as its URL.

    Any other path is unchanged.
    """
    text = with_urls(str(path))
    directory = os.environ.get(WORKSPACE_VARIABLE, "").rstrip("/")
    if directory and (text == directory or text.startswith(directory + "/")):
        return WORKSPACE_MOUNT + text[len(directory) :]
    return text


def staged_copy(path: Path) -> Path | None:
    """Return the copy of an input in object storage whose place is a path of this machine; None if there is none."""
    return staged_file(manifest_path(path))


def manifest_paths(value: Any) -> Any:
    """Apply :func:`manifest_path` to every string of a JSON value, including comma-separated lists of paths."""
    if isinstance(value, str):
        return ",".join(manifest_path(part) for part in value.split(",")) if "/" in value else value
    if isinstance(value, Mapping):
        return {key: manifest_paths(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [manifest_paths(entry) for entry in value]
    return value
