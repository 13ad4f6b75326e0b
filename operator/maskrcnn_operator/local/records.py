"""The lines that a running task adds to its status.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class RecordFollower:
    """Reads what is new in ``status.json``, a JSON object a line; lines of earlier attempts are passed over.

    A directory of an older fingerprint is moved aside while the task starts: its file is told by its inode.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._inode, self._position = self._identity()

    def _identity(self) -> tuple[int, int]:
        try:
            found = self.file.stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size

    def new_records(self) -> list[dict[str, Any]]:
        """The whole lines that were added since the last call; what is no JSON object is passed over."""
        inode, size = self._identity()
        if inode != self._inode or size < self._position:
            self._inode, self._position = inode, 0
        if size == self._position:
            return []
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._position)
                content = stream.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        records = []
        for line in whole.splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                records.append(record)
        return records
