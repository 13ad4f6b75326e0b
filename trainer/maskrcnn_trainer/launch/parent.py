"""Children that are killed when their parent ends, so that a killed launcher leaves no processes."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

from maskrcnn_trainer.errors import EXIT_KILLED

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded here because a forked child must not load libraries


def end_with_parent() -> Callable[[], None]:
    """Return a function for ``Popen(preexec_fn=)`` that makes the kernel kill the child when this process ends."""
    parent = os.getpid()

    def set_in_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # the parent may have ended before the call, which then has no effect
        if os.getppid() != parent:
            os._exit(EXIT_KILLED)

    return set_in_child
