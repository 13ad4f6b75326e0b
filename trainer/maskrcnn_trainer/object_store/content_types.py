"""Media types of published objects: a browser that opens a link shows a page, and doesn't download it."""

from __future__ import annotations

_TEXT = "text/plain; charset=utf-8"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".jsonl": _TEXT,
    ".txt": _TEXT,
    ".log": _TEXT,
    ".log.1": _TEXT,
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
"""Types by the end of a key; all others have the type that the store gives by itself."""


def content_type_of(key: str) -> str | None:
    """Return the media type of an object; None: that which the store gives by itself."""
    name = key.rpartition("/")[2].lower()
    return next((media for suffix, media in _TYPES.items() if name.endswith(suffix)), None)
