"""SIGTERM and SIGINT as a request that the training loop obeys between two steps."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from maskrcnn_trainer.errors import Stopped


class StopRequest:
    """While entered, the first SIGTERM or SIGINT sets :attr:`asked`; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._interrupts = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Raises :class:`Stopped` when asked to stop: for the long stretches with nothing to save."""
        if self.asked:
            raise Stopped("stopped on request")

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt
