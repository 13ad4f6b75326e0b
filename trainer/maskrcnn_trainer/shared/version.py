"""Version of this project, from the metadata of the installed distribution."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "maskrcnn-operator"
"""Distribution with both packages, so that operator and trainer have the same version in an image."""


def version() -> str:
    """Return the installed version, or ``unknown`` if the source runs without an installation."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
