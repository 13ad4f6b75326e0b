"""Where ``/workspace`` really is.

In a cluster every step sees the workspace at ``/workspace``. A local run keeps it in a directory of the user's choice,
named by ``MASKRCNN_WORKSPACE``; files that outlive the run (results, models) hold the ``/workspace`` form all the same,
so that they mean the same wherever they are read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.shared.variables import WORKSPACE_VARIABLE


def real_path(path: str) -> Path:
    """The file behind ``path``: ``/workspace`` and all below it stand in ``$MASKRCNN_WORKSPACE`` where that is set."""
    directory = os.environ.get(WORKSPACE_VARIABLE)
    if directory and (path == WORKSPACE_MOUNT or path.startswith(WORKSPACE_MOUNT + "/")):
        return Path(directory + path[len(WORKSPACE_MOUNT) :])
    return Path(path)


def manifest_path(path: str | Path) -> str:
    """Undoes :func:`real_path`: a path below ``$MASKRCNN_WORKSPACE`` in its ``/workspace`` form, others as they are."""
    text = str(path)
    directory = os.environ.get(WORKSPACE_VARIABLE, "").rstrip("/")
    if directory and (text == directory or text.startswith(directory + "/")):
        return WORKSPACE_MOUNT + text[len(directory) :]
    return text


def manifest_paths(value: Any) -> Any:
    """Applies :func:`manifest_path` to every string of a JSON value (comma-separated lists of paths too)."""
    if isinstance(value, str):
        return ",".join(manifest_path(part) for part in value.split(",")) if "/" in value else value
    if isinstance(value, Mapping):
        return {key: manifest_paths(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [manifest_paths(entry) for entry in value]
    return value
