"""Handling of SIGTERM and SIGINT while files are written: raised where clean-up is possible, else deferred."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from maskrcnn_trainer.errors import Stopped
from maskrcnn_trainer.shared.stop_signals import STOPPING, signals_handled


@contextlib.contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Raise :class:`Stopped` on SIGTERM within the block, unless the caller handles SIGTERM or runs in a thread."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    with signals_handled(_stop, signal.SIGTERM):
        yield


@contextlib.contextmanager
def signals_put_off() -> Iterator[None]:
    """Defer SIGTERM and SIGINT within the block: their handlers run at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    try:
        with signals_handled(lambda number, _: received.append(number), *STOPPING):
            yield
    finally:
        for received_number in dict.fromkeys(received):
            signal.raise_signal(received_number)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped("Dataset convert was interrupted")
