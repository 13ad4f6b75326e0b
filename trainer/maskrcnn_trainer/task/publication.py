"""Channel between rank 0 of a task and ``maskrcnn launch``, which publishes the results to object storage.

Rank 0 announces each checkpoint as soon as its file is complete, and learns which one is published. Messages are JSON
objects in packets of a local socket. Neither side waits for the other.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from maskrcnn_trainer.shared.variables import PUBLICATION_VARIABLE

_COMPLETE = "completeStep"
_PUBLISHED = "publishedStep"
_LARGEST = 1024
"""Maximum bytes of a message; one has about 30."""
_LARGEST_STEP = 10**18
_MOST_DIGITS = 6


class TaskPublication:
    """Rank 0's end of the channel, which several threads may use.

    Args:
        channel: connected socket.
        clock: seconds of a clock that only rises.

    Attributes:
        published_step: step of the newest checkpoint that was published as far as received; None before the first.
    """

    def __init__(self, channel: socket.socket, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock = clock
        self._lock = threading.Lock()
        """Guards all that follows."""
        self._published_step: int | None = None
        self._waiting: dict[int, float] = {}
        """When each checkpoint that isn't published became complete, by step, the earliest first."""

    @property
    def published_step(self) -> int | None:
        """Return the step of the newest checkpoint that is published; None if none is."""
        with self._lock:
            self._receive()
            return self._published_step

    @property
    def unpublished_seconds(self) -> float | None:
        """Return for how long the newest checkpoints have waited to be published; None if the newest is published.

        The time counts from the first checkpoint after the published one: if the store fails for hours, each new
        checkpoint replaces one that was still waiting.
        """
        with self._lock:
            self._receive()
            return self._clock() - next(iter(self._waiting.values())) if self._waiting else None

    def completed(self, step: int) -> None:
        """Count the checkpoint of ``step`` as waiting from now on, unless it is published or already counts."""
        with self._lock:
            self._receive()
            if step != self._published_step:
                self._waiting.setdefault(step, self._clock())

    def announce(self, step: int) -> None:
        """Announce that the files of the checkpoint of ``step`` are complete; do nothing once launch has ended."""
        self.completed(step)
        _send(self._channel, _COMPLETE, step)

    def _receive(self) -> None:
        for published in _received(self._channel, _PUBLISHED, wait=False):
            self._published_step = published
            self._waiting = {step: since for step, since in self._waiting.items() if step > published}


class LaunchPublication:
    """Launch's end of the channel.

    Args:
        channel: connected socket.
        task_channel: the task's end of it, which the task inherits.
    """

    def __init__(self, channel: socket.socket, task_channel: socket.socket) -> None:
        self._channel = channel
        self._task_channel = task_channel

    @classmethod
    def open(cls) -> LaunchPublication:
        """Create a channel."""
        return cls(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))

    @property
    def descriptor(self) -> int:
        """Return the descriptor that rank 0 inherits and PUBLICATION_VARIABLE names."""
        return self._task_channel.fileno()

    def release(self) -> None:
        """Close the task's end in this process, so that :meth:`announced` ends with the task."""
        self._task_channel.close()

    def published(self, step: int) -> None:
        """Send rank 0 the step of the newest checkpoint that is published; do nothing once the task has ended."""
        _send(self._channel, _PUBLISHED, step)

    def announced(self) -> Iterator[int]:
        """Return the steps that rank 0 announces, each when it arrives, until the task has ended."""
        return _received(self._channel, _COMPLETE, wait=True)

    def close(self) -> None:
        """Close both ends, which ends :meth:`announced` in another thread."""
        self._task_channel.close()
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()


@functools.cache
def task_publication() -> TaskPublication | None:
    """Return this process's end of the channel of PUBLICATION_VARIABLE; None without one."""
    descriptor = inherited_descriptor()
    return None if descriptor is None else TaskPublication(socket.socket(fileno=descriptor))


def inherited_descriptor() -> int | None:
    """Return the descriptor of the channel that this process has inherited; None without one."""
    text = os.environ.get(PUBLICATION_VARIABLE, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        return None
    # a process that was started without the descriptor may have given its number to another file
    try:
        channel = socket.socket(fileno=int(text))
    except OSError:
        return None
    kind = (channel.family, channel.type)
    descriptor = channel.detach()
    return descriptor if kind == (socket.AF_UNIX, socket.SOCK_SEQPACKET) else None


def _send(channel: socket.socket, name: str, step: int) -> None:
    # the other process may have ended, or may not read; then a later message replaces this one
    with contextlib.suppress(OSError):
        channel.send(json.dumps({name: step}).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _received(channel: socket.socket, name: str, *, wait: bool) -> Iterator[int]:
    while True:
        try:
            packet = channel.recv(_LARGEST, 0 if wait else socket.MSG_DONTWAIT)
        except OSError:
            return
        if not packet:
            return
        step = _step_in(packet, name)
        if step is not None:
            yield step


def _step_in(packet: bytes, name: str) -> int | None:
    try:
        content = json.loads(packet)
    except (ValueError, RecursionError):
        return None
    step = content.get(name) if isinstance(content, dict) else None
    return step if type(step) is int and 0 <= step <= _LARGEST_STEP else None
