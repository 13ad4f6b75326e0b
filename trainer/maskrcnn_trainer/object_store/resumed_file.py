"""Loading of one large published file, part by part: an interrupted call is continued by the next."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import PART_BYTES, ObjectInfo, StoreClient
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.fence.explaining import remedy_of_results
from maskrcnn_trainer.object_store.fence.records import PublishedFile
from maskrcnn_trainer.object_store.loading_record import DATA, missing_parts, record_part, recorded_bytes


def is_resumable(file: PublishedFile) -> bool:
    """Return whether a file has several parts; a smaller one is loaded as a whole."""
    return file.size > PART_BYTES


def resumed_bytes(folder: Path) -> int:
    """Return the bytes of a file that earlier calls have loaded to a folder."""
    return recorded_bytes(folder / DATA)


def fetch_resumed(
    client: StoreClient,
    file: PublishedFile,
    folder: Path,
    *,
    key_of: Callable[[str], str],
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Path | None:
    """Load the missing parts of a file, and return its verified copy in the folder; None: there is no such object.

    The key is written once, so parts of earlier calls are of the same object. A file with another SHA-256 than its
    record states is loaded again once.

    Args:
        client: of the store.
        file: of several parts.
        folder: of this file alone; made if absent.
        key_of: returns the whole key of a file's key.
        on_bytes: called with the number of further bytes that were received.

    Raises:
        InvalidInput: the folder is a link, or the object hasn't the bytes that its record states (64).
        OSError: of the folder or a file in it.
    """
    info = ObjectInfo(key_of(file.key), file.size, "")
    found = client.head(info.key)
    if found is None:
        return None
    # before the list of its parts, which a size that isn't true would make endless
    for _ in range(2 if found.size == file.size else 0):
        if folder.is_symlink():
            raise InvalidInput(f"{folder}: must be a directory, not a link; remove it")
        folder.mkdir(mode=0o700, exist_ok=True)
        outcome = _load(client, info, folder / DATA, on_bytes)
        if outcome is ReadOutcome.ABSENT:
            return None
        if outcome is ReadOutcome.DONE and _sha256(folder / DATA) == file.sha256:
            return folder / DATA
        shutil.rmtree(folder)
    raise InvalidInput(
        f"{client.url_of(info.key)}: the object hasn't the {file.size} bytes and the SHA-256 of its manifest; restore "
        f"it, or {remedy_of_results(file.key)}",
        reason="InvalidData",
    )


def _load(client: StoreClient, info: ObjectInfo, data: Path, on_bytes: Callable[[int], None]) -> ReadOutcome:
    received = client.fetch(missing_parts(info, data), on_bytes=lambda _part, begin, end: on_bytes(end - begin))
    try:
        for part, outcome in received:
            if outcome is not ReadOutcome.DONE:
                return outcome
            record_part(part)
    finally:
        received.close()
    return ReadOutcome.DONE


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
