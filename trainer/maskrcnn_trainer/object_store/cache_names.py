"""Names of objects in a cache: equal for equal store, key, and etag, and safe in every file system."""

from __future__ import annotations

import hashlib
import json


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
    content = json.dumps([store, key, etag, size], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def is_cached_name(text: str) -> bool:
    """Return whether a file's name is one that `cached_name` returns; others in a cache are never touched."""
    return len(text) == 64 and not set(text) - set("0123456789abcdef")
