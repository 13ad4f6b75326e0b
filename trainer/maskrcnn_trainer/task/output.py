"""Standard output of a command."""

from __future__ import annotations

import sys
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import named_in_errors
from maskrcnn_trainer.shared.standard_streams import ClosedStream


def write_output(text: str) -> None:
    """Write to standard output and flush it, since an error at the end of the process would not be reported.

    Raises:
        InvalidInput: it is closed.
        OSError: it cannot be written to; BrokenPipeError if its reader has exited.
    """
    if isinstance(sys.stdout, ClosedStream):
        raise InvalidInput("standard output is closed; redirect it to a file (> FILE)")
    with named_in_errors(Path("standard output")):
        sys.stdout.write(text)
        sys.stdout.flush()
