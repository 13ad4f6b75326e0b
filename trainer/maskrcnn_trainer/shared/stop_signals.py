"""Handling of SIGTERM and SIGINT as a request to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGTERM, signal.SIGINT)

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def signals_handled(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Call ``handler`` for the signals within the block; restore the earlier handlers after it."""
    earlier = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in earlier.items():
            # None means a handler that wasn't installed from Python, which cannot be restored
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


class StopSignals:
    """Context manager that counts the signals to stop.

    Attributes:
        first: the first signal; None before it.
        interrupts: number of SIGINT signals (Ctrl-C in a terminal).
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.interrupts = 0
        self._handled: contextlib.AbstractContextManager[None] = contextlib.nullcontext()

    @property
    def asked(self) -> bool:
        """Return whether a signal was received."""
        return self.first is not None

    def on_signal(self) -> None:
        """Handle a signal within the signal handler; a subclass may raise here."""

    def __enter__(self) -> Self:
        self._handled = signals_handled(self._count, *STOPPING)
        self._handled.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.__exit__(kind, error, trace)

    def _count(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or signal.Signals(number)
        self.interrupts += number == signal.SIGINT
        self.on_signal()
