"""Set-up of logging in the processes of a task."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from maskrcnn_trainer.spelling import as_written

CHATTY_LOGGERS = ("absl", "tensorflow", "PIL", "h5py", "matplotlib", "urllib3")


class _Formatter(logging.Formatter):
    """Formatter that spells fields as the user's spec file does."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - a method of the base class
        record.message = as_written(record.message)
        return super().formatMessage(record)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Handler that looks up sys.stderr for each line, so that a bar on the terminal can stay below the lines."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # a property in place of an attribute
        return sys.stderr


def setup_logging(rank: int = 0) -> None:
    """Log plain lines with the time on standard error; ranks other than 0 log only errors, with their rank.

    All ranks read the same spec and data, so the others would repeat each warning of rank 0. Call this before
    TensorFlow is imported: it turns down TensorFlow's start-up messages, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    handler = _StderrHandler()
    who = "" if rank == 0 else f"[rank {rank}] "
    handler.setFormatter(_Formatter(f"%(asctime)s %(levelname)-7s {who}%(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
