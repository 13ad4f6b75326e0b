"""SIGTERM and SIGINT as a request that the training loop obeys between two steps."""

from __future__ import annotations

from maskrcnn_trainer.errors import Stopped
from maskrcnn_trainer.shared.stop_signals import StopSignals


class StopRequest(StopSignals):
    """A request to stop; a second SIGINT interrupts at once."""

    def check(self) -> None:
        """Raise :class:`Stopped` when a signal has come: for the long stretches with nothing to save."""
        if self.asked:
            raise Stopped("stopped on request")

    def on_signal(self) -> None:
        # a SIGINT after SIGTERM may be of the same Ctrl-C: a terminal sends it to launch and to its processes
        if self.interrupts > 1:
            raise KeyboardInterrupt
