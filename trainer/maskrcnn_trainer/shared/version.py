"""The version of this project, which ``pyproject.toml`` alone holds."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "maskrcnn-operator"
"""One distribution has both packages, so operator and trainer never differ in one image."""


def version() -> str:
    """Return the version that is installed; ``unknown`` where the source runs without an installation."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
