"""Messages of the rendezvous in memory."""

from __future__ import annotations

from maskrcnn_trainer.launch.rendezvous import RendezvousBoard


class MemoryBoard(RendezvousBoard):
    """Board without a server.

    Attributes:
        messages: by name.
        down: whether node 0 can't be reached.
    """

    def __init__(self) -> None:
        super().__init__("node-0", 29500)
        self.messages: dict[str, bytes] = {}
        self.down = False

    def write(self, name: str, content: bytes) -> None:
        """Write a message."""
        self._check()
        self.messages[name] = content

    def read(self, name: str) -> bytes | None:
        """Return a message."""
        self._check()
        return self.messages.get(name)

    def _check(self) -> None:
        if self.down:
            raise ConnectionRefusedError("node 0 is gone")
