"""Part of one node in its worker group, which the thread that runs its processes calls."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from maskrcnn_trainer.launch.rendezvous import RendezvousBoard


class GroupMember:
    """Node that does nothing in its group but run processes."""

    def while_waiting(self) -> None:
        """Do what is to be done again and again while this node waits for the others, without blocking; may raise."""

    def joined(self, board: RendezvousBoard) -> AbstractContextManager[None]:
        """Return the block in which the processes of this node run, once all nodes have joined the rendezvous.

        Args:
            board: of the rendezvous, which node 0 serves until its own block has ended.
        """
        del board
        return nullcontext()
