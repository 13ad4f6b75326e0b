"""Uploads of the log of another node than node 0, which are announced to node 0 by the rendezvous."""

from __future__ import annotations

import hashlib
import logging
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput, TaskError
from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.launch.rendezvous import RendezvousBoard
from maskrcnn_trainer.object_store.fence.encoding import encode_node_log
from maskrcnn_trainer.object_store.fence.exchange_types import FoundRecord, GetRecord, PutFiles, UploadedKeys
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.node_logs import LARGEST_LOG, LogNames
from maskrcnn_trainer.object_store.fence.records import ClaimName, NodeLog, PublishedFile, StepPointer
from maskrcnn_trainer.object_store.fence.untrusted import parse_claim_name
from maskrcnn_trainer.publishing.step_session import SessionStore

log = logging.getLogger(__name__)

CLAIM_MESSAGE = "claim"
"""Message in which node 0 names its claim."""


def log_message(node: int) -> str:
    """Return the name of the message in which a node announces its log."""
    return f"log-{node}"


class NodeLogUploads:
    """Uploads of one node's log, each under a new key. A failure is logged and fails nothing.

    Args:
        store: of all experiments.
        keys: of the step.
        node: rank of this node.
        name: of the log file.
        now: seconds since 1970.
    """

    def __init__(
        self,
        store: SessionStore,
        keys: StepKeys,
        node: int,
        name: str,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keys = keys
        self._node = node
        self._name = name
        self._now = now
        self._names: LogNames | None = None
        self._uploaded: NodeLog | None = None
        self._failed = False

    def upload(self, kept: KeptLog, board: RendezvousBoard, *, is_last: bool = False) -> bool:
        """Upload what the log has now unless that is uploaded already, and announce it; return whether it succeeded.

        Args:
            kept: the log.
            board: of the rendezvous.
            is_last: whether this node's processes have ended.
        """
        try:
            self._names = self._names or self._first_names(board)
            if self._names is None:
                return False
            uploaded = self._stored(kept, self._names, is_last=is_last)
            board.write(log_message(self._node), encode_node_log(uploaded))
        except (OSError, TaskError) as error:
            if not self._failed:
                log.info("The log of this node isn't kept with the results at the moment: %s", error)
            self._failed = True
            return False
        self._failed = False
        return True

    def _first_names(self, board: RendezvousBoard) -> LogNames | None:
        content = board.read(CLAIM_MESSAGE)
        if content is None:
            return None
        claim = parse_claim_name(content)
        self._check(claim)
        return LogNames(self._keys, claim, self._node, secrets.token_hex(8))

    def _check(self, claim: ClaimName) -> None:
        """Check that a claim which the rendezvous names is the pointer's: any process can write to the rendezvous.

        No cleaning would delete a log of an epoch that the step hasn't reached.

        Raises:
            InvalidInput: it isn't.
        """
        answer = self._store.sender()(GetRecord(self._keys.pointer))
        pointer = answer.content if isinstance(answer, FoundRecord) else None
        if not isinstance(pointer, StepPointer) or (pointer.epoch, pointer.token) != (claim.epoch, claim.token):
            raise InvalidInput(
                f"the rendezvous names a claim of epoch {claim.epoch}, which {self._store.url}/{self._keys.pointer} "
                "doesn't have"
            )

    def _stored(self, kept: KeptLog, names: LogNames, *, is_last: bool) -> NodeLog:
        with tempfile.TemporaryDirectory(prefix="maskrcnn-log-") as folder:
            copy = Path(folder, self._name)
            kept.copy_to(copy, most=LARGEST_LOG)
            content = copy.read_bytes()
            found = NodeLog("", len(content), hashlib.sha256(content).hexdigest(), is_last)
            before = self._uploaded
            if before is not None and (before.size, before.sha256) == (found.size, found.sha256):
                return NodeLog(before.key, before.size, before.sha256, is_last)
            # a name counts as used, whatever becomes of its upload
            key, self._names = names.take(self._name, int(self._now()))
            file = PublishedFile(self._name, key, found.size, found.sha256)
            answer = self._store.sender(sources=Path(folder))(PutFiles((file,)))
        if not isinstance(answer, UploadedKeys) or key not in answer.keys:
            raise InvalidInput(f"{self._store.url}/{key} wasn't stored", reason="StoreRefused")
        self._uploaded = NodeLog(key, found.size, found.sha256, is_last)
        return self._uploaded
