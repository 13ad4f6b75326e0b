"""Start, messages, and end of the helper process of one store."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

from maskrcnn_trainer.object_store.frames import BrokenFrame, FrameReader, Message, encoded
from maskrcnn_trainer.shared.parent_death import end_with_parent

SECONDS_TO_START = 60.0
SECONDS_TO_EXIT = 5.0
SECONDS_TO_TAKE = 60.0
"""Time in which the helper reads a message: it carries requests out in other threads, and so reads at once."""
_RECEIVED = 256 * 1024
_KEPT = (
    "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "TMPDIR", "TZ",
    "VIRTUAL_ENV",
)  # fmt: skip
"""Variables that the helper gets from its parent: none of a provider's, which the library would read."""


class HelperLost(Exception):
    """End of the helper process, or of the messages from it.

    Attributes:
        code: exit code of the process, negative for a signal; None: unknown.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__()
        self.code = code


class HelperProcess:
    """Running helper process.

    Args:
        settings: first message, as the helper's program reads it.
        environment: of this process.

    Attributes:
        answer: first answer of the helper: ``ready``, ``failed``, or ``missing``.

    Raises:
        HelperLost: it ended before its first answer, or had none in time.
    """

    def __init__(self, settings: Message, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._reader = FrameReader()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "maskrcnn_trainer.object_store.helper_main"],
                stdin=theirs.fileno(),
                # The library prints panics, which may hold a URL with its signature.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: environment[name] for name in _KEPT if name in environment},
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - it calls nothing but prctl
            )
        self.owner = os.getpid()
        try:
            self.send(settings)
            answer = self._first_answer()
            if answer is None:
                raise HelperLost(None)
        except BaseException:
            self.kill()
            raise
        self.answer = answer

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            HelperLost: the helper has ended, or doesn't read.
        """
        self._socket.settimeout(SECONDS_TO_TAKE)
        try:
            self._socket.sendall(encoded(message))
        except OSError:
            raise self._lost() from None

    def receive(self, seconds: float) -> Message | None:
        """Return the next message; None: there was none within ``seconds``.

        Raises:
            HelperLost: the helper has ended.
        """
        try:
            if (message := self._reader.next()) is not None:
                return message
            self._socket.settimeout(max(seconds, 0.001))
            while piece := self._socket.recv(_RECEIVED):
                self._reader.add(piece)
                if (message := self._reader.next()) is not None:
                    return message
        except TimeoutError:
            return None
        except (BrokenFrame, OSError):
            pass
        raise self._lost()

    def kill(self) -> None:
        """End the process at once; in a child that was forked since, only forget it."""
        self._socket.close()
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()

    def _first_answer(self) -> Message | None:
        end = time.monotonic() + SECONDS_TO_START
        while (left := end - time.monotonic()) > 0:
            if (answer := self.receive(left)) is not None:
                return answer
        return None

    def _lost(self) -> HelperLost:
        code = None
        if self.owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                # its end of the socket closes a moment before the process has ended
                code = self._process.wait(SECONDS_TO_EXIT)
        self.kill()
        return HelperLost(code)
