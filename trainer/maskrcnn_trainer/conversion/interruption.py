"""SIGTERM and SIGINT while files are written: raised where it can be cleaned up after, put off where not."""

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
    """Within the block SIGTERM raises :class:`Stopped`, unless the caller handles it already or runs in a thread."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    with signals_handled(_stop, signal.SIGTERM):
        yield


@contextlib.contextmanager
def signals_put_off() -> Iterator[None]:
    """SIGTERM and SIGINT within the block take effect at its end, as their handlers would have it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    try:
        with signals_handled(lambda number, _: came.append(number), *STOPPING):
            yield
    finally:
        for came_number in dict.fromkeys(came):
            signal.raise_signal(came_number)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped("Dataset convert was interrupted")
