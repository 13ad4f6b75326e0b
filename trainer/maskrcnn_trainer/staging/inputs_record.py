"""Record of the objects that a task has read, for its result: a line for each URL, and the list itself in a file."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from maskrcnn_trainer.object_store.client import ObjectInfo


def inputs_summary(objects: Iterable[ObjectInfo]) -> dict[str, Any]:
    """Return what ``result.json`` has of a URL: number of objects, their bytes, and the SHA-256 of their list.

    The list is ``key etag size``, a line for each object, sorted by key; two inputs with equal sums are the same.

    Args:
        objects: that were staged for the URL, in any order.
    """
    ordered = sorted(objects, key=lambda one: one.key)
    digest = hashlib.sha256()
    for one in ordered:
        digest.update(f"{one.key} {one.etag} {one.size}\n".encode("utf-8", "surrogateescape"))
    return {"objects": len(ordered), "bytes": sum(one.size for one in ordered), "sha256": digest.hexdigest()}


def inputs_file(by_url: Mapping[str, Sequence[ObjectInfo]]) -> bytes:
    """Return the content of ``inputs.json.gz``: gzipped JSON, equal for equal objects.

    Args:
        by_url: objects by the URL as the user wrote it.
    """
    content = {
        url: [{"key": one.key, "etag": one.etag, "size": one.size} for one in sorted(objects, key=lambda one: one.key)]
        for url, objects in sorted(by_url.items())
    }
    return gzip.compress(json.dumps(content, separators=(",", ":")).encode("ascii"), mtime=0)
