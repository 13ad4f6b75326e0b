"""Identity of a set of records: equal for equal shards in any directory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from maskrcnn_trainer.data.records import RecordIndex


def records_digest(index: RecordIndex) -> str:
    """Return a digest of the shards' names and of the offsets and lengths of their records, 32 hexadecimal digits.

    Directories are left out, so that a data set may be moved. Payloads are not read: a change of content that keeps all
    lengths is not detected.
    """
    digest = hashlib.sha256()
    for name in index.files:
        digest.update(Path(name).name.encode("utf-8", "surrogateescape") + b"\0")
    for numbers in (index.file_ids, index.offsets, index.lengths):
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()[:32]
