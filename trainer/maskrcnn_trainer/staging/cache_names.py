"""Names of objects in a cache: equal for equal store, key, and etag, or content, and safe in every file system."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def cached_name(store: str, key: str, etag: str, size: int) -> str:
    """Return the name of an object in a cache, 64 hexadecimal digits.

    The size is part of it for stores without etags. Keys aren't names of files: they may be longer than 255 bytes,
    and one may be the folder of another.

    Args:
        store: text that is equal for equal endpoints and containers, without a secret.
        key: of the object, as it is.
        etag: without quotes; empty if the store has none.
        size: in bytes.
    """
    return _digest([store, key, etag, size])


def cached_content_name(store: str, sha256: str, size: int) -> str:
    """Return the name in a cache of content whose SHA-256 is verified when it is loaded.

    It is none that `cached_name` returns: else a forged manifest would reach an object that another task has loaded.
    The store is part of it, so that a task gets only what is in a store that it reads.

    Args:
        store: see `cached_name`.
        sha256: of the content, in hexadecimal digits.
        size: in bytes.
    """
    return _digest([store, {"sha256": sha256}, size])


def _digest(parts: list[Any]) -> str:
    content = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def is_cached_name(text: str) -> bool:
    """Return whether a file's name is one that `cached_name` returns; others in a cache are never touched."""
    return len(text) == 64 and not set(text) - set("0123456789abcdef")
