"""Stop request by SIGTERM or SIGINT, which the training loop obeys between two steps."""

from __future__ import annotations

from maskrcnn_trainer.errors import Stopped
from maskrcnn_trainer.shared.stop_signals import StopSignals


class StopRequest(StopSignals):
    """Stop request; a second SIGINT interrupts at once."""

    def check(self) -> None:
        """Raise :class:`Stopped` if a signal was received; for long phases with nothing to save."""
        if self.asked:
            raise Stopped("stopped on request")

    def on_signal(self) -> None:
        """Raise KeyboardInterrupt at a second SIGINT."""
        # a SIGINT after SIGTERM may be from the same Ctrl-C: a terminal sends it to launch and to its processes
        if self.interrupts > 1:
            raise KeyboardInterrupt
