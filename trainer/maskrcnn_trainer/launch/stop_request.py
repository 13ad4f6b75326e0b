"""Request to stop the processes of this node."""

from __future__ import annotations

from collections.abc import Callable

from maskrcnn_trainer.launch.processes import NodeProcesses
from maskrcnn_trainer.shared.stop_signals import StopSignals


class GroupStopRequest(StopSignals):
    """Stop request that sends SIGTERM to the processes at SIGTERM or SIGINT, and kills them at a second SIGINT.

    Attributes:
        on_second_interrupt: called within the signal handler at a second SIGINT.
        abandoned: whether the processes must not run any more, because another run has their results directory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_second_interrupt: Callable[[], None] = lambda: None
        self.abandoned = False
        self._group: NodeProcesses | None = None

    @property
    def ends_launch(self) -> bool:
        """Return whether this node must start no processes, by a signal or because another run has the directory."""
        return self.asked or self.abandoned

    def follow(self, group: NodeProcesses) -> None:
        """Apply this request and those that come to a group that was just started."""
        self._group = group
        if self.abandoned:
            group.abandon()
        elif self.asked:
            group.stop()

    def abandon(self) -> None:
        """End the processes at once, from any thread; their exit codes don't count."""
        self.abandoned = True
        if self._group is not None:
            self._group.abandon()

    def on_signal(self) -> None:
        """Stop the processes, or kill them."""
        is_urgent = self.interrupts > 1
        if is_urgent:
            self.on_second_interrupt()
        if self._group is not None:
            if is_urgent:
                self._group.kill()
            else:
                self._group.stop()
