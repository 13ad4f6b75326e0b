"""Time spent in each stage of inference, over all threads."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

STAGES = ("decode", "network", "paste", "draw", "write")


class StageClock:
    """Clock that sums seconds by stage; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the block to a stage."""
        began = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - began
            with self._lock:
                self._seconds[name] += spent

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        with self._lock:
            return dict(self._seconds)


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return each stage's share 0..1 of the total; all shares are 0 if the total is 0."""
    total = sum(seconds.values())
    return {name: value / total if total else 0.0 for name, value in seconds.items()}
