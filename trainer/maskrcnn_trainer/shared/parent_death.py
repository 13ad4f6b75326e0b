"""Children that end with their parent, so that a killed process leaves no process behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# loaded before any fork: a forked child must not load libraries
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent(sent: signal.Signals) -> Callable[[], None] | None:
    """Return a function for ``Popen(preexec_fn=)`` after which the child gets a signal when its parent ends.

    The parent is the thread that starts the child (prctl(2), PR_SET_PDEATHSIG).

    Args:
        sent: the signal; if the parent has already ended, the child exits with 128 + its number instead.

    Returns:
        None on other systems than Linux, which have no such signal.
    """
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def set_in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, sent, 0, 0, 0)
        # the parent may have ended before the call, which then has no effect
        if os.getppid() != parent:
            os._exit(128 + sent)

    return set_in_child
