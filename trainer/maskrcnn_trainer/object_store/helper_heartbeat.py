"""Messages by which the parent of a helper process distinguishes a slow store from a helper that doesn't run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from maskrcnn_trainer.object_store.frames import Message

SECONDS_BETWEEN_BEATS = 10.0


class Heartbeat:
    """Thread that sends ``{"alive": true}`` every ten seconds while requests are carried out, and nothing at rest.

    Args:
        send: sends a message.
        seconds: time between two messages.
    """

    def __init__(self, send: Callable[[Message], None], seconds: float = SECONDS_BETWEEN_BEATS) -> None:
        self._send = send
        self._seconds = seconds
        self._requests = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @contextlib.contextmanager
    def during_request(self) -> Iterator[None]:
        """Count a request as carried out within a block."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            before, self._requests = self._requests, self._requests + change
            if not before or not self._requests:
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._requests > 0)
                if self._changed.wait_for(lambda: self._requests == 0, self._seconds):
                    continue
            self._send({"alive": True})
