"""Logs of the other nodes, which node 0 names in the published set of the step."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.log_upload import CLAIM_MESSAGE, log_message
from maskrcnn_trainer.launch.logs import is_log_of_other_node, is_old_log, log_name
from maskrcnn_trainer.launch.rendezvous import RendezvousBoard
from maskrcnn_trainer.object_store.fence.encoding import encode_claim_name
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.node_logs import is_nameable_log
from maskrcnn_trainer.object_store.fence.records import ClaimName, NodeLog, PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.untrusted import parse_node_log

log = logging.getLogger(__name__)

SECONDS_FOR_LAST_LOGS = 10.0
"""Time after the end of its own processes in which node 0 waits for the last logs of the other nodes."""
_POLL_SECONDS = 0.2


def logs_of_other_nodes(published: PublishedSet | None) -> tuple[PublishedFile, ...]:
    """Return the logs of a set that node 0 only continues to name: those of many nodes and attempts would fill a disk.

    Args:
        published: the set; None: an empty one.
    """
    return tuple(file for file in (published.files if published else ()) if is_log_of_other_node(file.path))


class CollectedLogs(GroupMember):
    """Node 0's view of the logs that the other nodes have uploaded.

    Args:
        keys: of the step.
        claim: of this start.
        attempt: number of the attempt.
        nodes: number of nodes.
        before: logs of other nodes that the set before names, of which this machine has no copy.
        hurried: returns whether the last logs aren't waited for.
        seconds: see ``SECONDS_FOR_LAST_LOGS``.
    """

    def __init__(
        self,
        keys: StepKeys,
        claim: ClaimName,
        attempt: int,
        nodes: int,
        *,
        before: Iterable[PublishedFile] = (),
        hurried: Callable[[], bool] = lambda: False,
        seconds: float = SECONDS_FOR_LAST_LOGS,
    ) -> None:
        self._keys = keys
        self._claim = claim
        self._attempt = attempt
        self._nodes = nodes
        self._before = {file.path: file for file in before if not is_old_log(file.path.rpartition("/")[2], attempt)}
        self._hurried = hurried
        self._seconds = seconds
        self._lock = threading.Lock()
        self._board: RendezvousBoard | None = None
        self._newest: dict[int, NodeLog] = {}
        self._refused: set[int] = set()
        self._ended: set[int] = set()

    def files(self) -> tuple[PublishedFile, ...]:
        """Return the logs of earlier attempts, and the newest of each node that has announced one; for any thread."""
        with self._lock:
            self._look()
            newest = [
                PublishedFile(log_name(self._attempt, node), found.key, found.size, found.sha256)
                for node, found in self._newest.items()
            ]
        by_path = self._before | {file.path: file for file in newest}
        return tuple(file for _, file in sorted(by_path.items()))

    def joined(self, board: RendezvousBoard) -> AbstractContextManager[None]:
        """Return a block that names the claim at its start, and waits for the last logs at its end."""
        return self._named_to(board)

    @contextmanager
    def _named_to(self, board: RendezvousBoard) -> Iterator[None]:
        try:
            board.write(CLAIM_MESSAGE, encode_claim_name(self._claim))
        except OSError as error:
            log.warning("The logs of the other nodes aren't kept: %s", error)
        with self._lock:
            self._board = board
        try:
            yield
            self._await_last()
        finally:
            with self._lock:
                self._board = None

    def _await_last(self) -> None:
        deadline = time.monotonic() + self._seconds
        while not self._hurried():
            with self._lock:
                self._look()
                if len(self._ended) == self._nodes - 1:
                    return
            if time.monotonic() >= deadline:
                return
            time.sleep(_POLL_SECONDS)

    def _look(self) -> None:
        """Take what the nodes have announced since the last look; the caller holds the lock."""
        if self._board is None:
            return
        with suppress(OSError):
            for node in range(1, self._nodes):
                content = None if node in self._ended else self._board.read(log_message(node))
                if content is not None:
                    self._take(node, content)

    def _take(self, node: int, content: bytes) -> None:
        try:
            found = parse_node_log(content, self._keys)
        except InvalidInput as error:
            self._refuse(node, str(error))
            return
        newest = self._newest.get(node)
        is_known = newest is not None and newest.key == found.key
        if not is_known:
            if not is_nameable_log(found, keys=self._keys, claim=self._claim, node=node, newest=newest):
                self._refuse(node, f"{found.key} isn't a later log of this node, of this claim, and of at most 16 MiB")
                return
            self._newest[node] = found
        if found.is_last:
            self._ended.add(node)

    def _refuse(self, node: int, problem: str) -> None:
        if node not in self._refused:
            self._refused.add(node)
            log.warning("The log of node %d isn't published: %s", node, problem)
