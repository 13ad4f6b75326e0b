"""Warnings about publishing, in a file next to the working copy, from which ``maskrcnn-operator run`` shows them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskrcnn_trainer.shared.messages import NOTICE, notices_name

_PUBLISHING = logging.getLogger("maskrcnn_trainer.publishing")


class _NoticeFile(logging.Handler):
    def __init__(self, file: Path) -> None:
        super().__init__(logging.WARNING)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        """Append the message; the log has it as well, so that a failure loses nothing."""
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({NOTICE: record.getMessage()}) + "\n")


@contextmanager
def notices_of(results_dir: Path) -> Iterator[None]:
    """Write the warnings about publishing within a block to the file next to a working copy; replace an older one."""
    file = results_dir.with_name(notices_name(results_dir.name))
    with suppress(OSError):
        file.unlink(missing_ok=True)
    handler = _NoticeFile(file)
    _PUBLISHING.addHandler(handler)
    try:
        yield
    finally:
        _PUBLISHING.removeHandler(handler)
