"""Logs of the other nodes of a worker group.

Node 0 claims the step and names files. Another node uploads its log under the epoch and token of that claim, with
numbers of a range of its own, and node 0 names the newest upload of each node. The numbers of a node rise, so that an
upload with a lower number than the one that is named was replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from maskrcnn_trainer.object_store.fence.keys import NUMBERS_PER_NODE, StepKeys
from maskrcnn_trainer.object_store.fence.records import ClaimName, NodeLog

LARGEST_LOG = 16 * 1024 * 1024
"""Most bytes of the log of one node in one attempt."""


@dataclass(frozen=True, slots=True)
class LogNames:
    """Source of the names of one node's uploads under one claim.

    Attributes:
        keys: of the step.
        claim: of node 0.
        node: rank of the node, from 1.
        start: random, of this start of the node, so that another start never uses the same name.
        number: lowest that is left.
    """

    keys: StepKeys
    claim: ClaimName
    node: int
    start: str
    number: int = 0

    def take(self, name: str, now: int) -> tuple[str, LogNames]:
        """Return a key, and the names after it.

        Args:
            name: of the log file.
            now: seconds since 1970, by which numbers rise over several starts of the node.
        """
        number = max(self.number, now)
        first = self.node * NUMBERS_PER_NODE
        key = self.keys.written_once(self.claim.epoch, self.claim.token, first + number, f"{self.start}-{name}")
        return key, LogNames(self.keys, self.claim, self.node, self.start, number + 1)


def is_nameable_log(log: NodeLog, *, keys: StepKeys, claim: ClaimName, node: int, newest: NodeLog | None) -> bool:
    """Return whether node 0 may name an upload that another node has announced.

    Args:
        log: the upload.
        keys: of the step.
        claim: of node 0.
        node: rank of the other node.
        newest: upload of that node that was accepted last; one with a lower number may be garbage already.
    """
    parts = keys.parse(log.key)
    before = keys.parse(newest.key) if newest is not None else None
    return (
        parts is not None
        and (parts.epoch, parts.token, parts.node) == (claim.epoch, claim.token, node)
        and 0 <= log.size <= LARGEST_LOG
        and (before is None or parts.number > before.number)
    )


def awaited_logs(keys: StepKeys, claim: ClaimName, existing: Iterable[str], named: Iterable[str]) -> frozenset[str]:
    """Return the uploads of other nodes that node 0 may still name: no later one of the node is named.

    Args:
        keys: of the step.
        claim: of node 0.
        existing: keys in the store.
        named: keys that the pointer names.
    """
    uploads = {key: parts for key in existing if (parts := keys.parse(key)) is not None}
    newest: dict[int, int] = {}
    for key in named:
        parts = keys.parse(key)
        if parts is not None and (parts.epoch, parts.token) == (claim.epoch, claim.token):
            newest[parts.node] = max(parts.number, newest.get(parts.node, -1))
    return frozenset(
        key
        for key, parts in uploads.items()
        if (parts.epoch, parts.token) == (claim.epoch, claim.token)
        and parts.node > 0
        and parts.number > newest.get(parts.node, -1)
    )
