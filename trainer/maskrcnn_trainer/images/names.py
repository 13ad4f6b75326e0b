"""Names of image files that tasks look for in a directory."""

from __future__ import annotations

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes of the files, in any case."""


def is_image_name(path: str) -> bool:
    """Return whether a path, with slashes, is that of an image file."""
    return path.lower().endswith(SUFFIXES)


def is_visible_image_name(path: str) -> bool:
    """Return whether a path relative to a directory, with slashes, is that of an image file that isn't hidden in it."""
    return is_image_name(path) and not any(part.startswith(".") for part in path.split("/"))
