"""Identity of a set of records: equal for equal shards, wherever they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from maskrcnn_trainer.data.records import RecordIndex


def records_digest(index: RecordIndex) -> str:
    """Return 32 hexadecimal digits over the shards' names and over the places and sizes of their records.

    Directories are left out, so that a data set may move. The payloads are not read: images of other content but of
    exactly the same sizes are not noticed.
    """
    digest = hashlib.sha256()
    for name in index.files:
        digest.update(Path(name).name.encode("utf-8", "surrogateescape") + b"\0")
    for numbers in (index.file_ids, index.offsets, index.lengths):
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()[:32]
