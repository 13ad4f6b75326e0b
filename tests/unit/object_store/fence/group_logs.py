"""Logs of another node of a worker group in the enumeration: it uploads them, and node 0 names them."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_trainer.object_store.fence import node_logs
from maskrcnn_trainer.object_store.fence.exchange_types import (
    Decision,
    FenceAnswer,
    FenceOutcome,
    FenceRequest,
    FoundRecord,
    GetRecord,
    ListedKeys,
    ListKeys,
    PutFiles,
    UploadedKeys,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import ClaimName, NodeLog, PublishedFile, StepPointer

NODE = 1
PATH = "log"


@dataclass(frozen=True)
class ClaimSeen(FenceOutcome):
    """Node 0 has named its claim."""

    claim: ClaimName


@dataclass(frozen=True)
class LogUploaded(FenceOutcome):
    """The log was uploaded."""

    names: node_logs.LogNames


@dataclass(frozen=True)
class LogSeen(FenceOutcome):
    """Newest log that node 0 has accepted; None: there is none."""

    newest: NodeLog | None


@dataclass(frozen=True)
class AwaitedClaim:
    """Wait for a claim of a process: its pointer stands for the rendezvous."""

    keys: StepKeys
    of: str

    @property
    def request(self) -> FenceRequest:
        """Read the pointer."""
        return GetRecord(self.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        """Return the claim once it is there."""
        pointer = answer.content if isinstance(answer, FoundRecord) else None
        if isinstance(pointer, StepPointer) and pointer.token.startswith(self.of):
            return ClaimSeen(ClaimName(pointer.epoch, pointer.token))
        return self


@dataclass(frozen=True)
class LogUpload:
    """Upload of a log; one that fails is followed by one under a new name."""

    names: node_logs.LogNames

    @property
    def request(self) -> PutFiles:
        """Upload the log."""
        key, _ = self.names.take(PATH, 0)
        return PutFiles((PublishedFile(PATH, key, 1, content_of(key)),))

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        """Return the names that are left."""
        key, names = self.names.take(PATH, 0)
        if isinstance(answer, UploadedKeys) and key in answer.keys:
            return LogUploaded(names)
        return LogUpload(names)


@dataclass(frozen=True)
class LogLook:
    """Look for announced logs: a listing stands for the rendezvous, and the oldest acceptable log for the last one."""

    keys: StepKeys
    claim: ClaimName
    newest: NodeLog | None

    @property
    def request(self) -> FenceRequest:
        """List the uploads."""
        return ListKeys(self.keys.prefix)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        """Return the log that is named next."""
        assert isinstance(answer, ListedKeys)
        logs = [NodeLog(entry.key, 1, content_of(entry.key)) for entry in answer.entries]
        acceptable = [
            log
            for log in logs
            if node_logs.is_nameable_log(log, keys=self.keys, claim=self.claim, node=NODE, newest=self.newest)
        ]
        return LogSeen(min(acceptable, key=lambda log: log.key, default=self.newest))


def content_of(key: str) -> str:
    """Return the content of the log with a key."""
    return f"content of {key}"
