"""Reading of the records that a running task adds to its ``status.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class RecordFollower:
    """Reader of the lines that are added to ``status.json``, one JSON object each; older lines are skipped.

    While a task starts, it may move a results directory of an older fingerprint aside. A new inode shows that the file
    was replaced.
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

    def skip(self) -> None:
        """Skip all lines that the file has now."""
        self._inode, self._position = self._identity()

    def new_records(self) -> list[dict[str, Any]]:
        """Return the complete lines that were added since the last call; lines that aren't JSON objects are skipped."""
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
