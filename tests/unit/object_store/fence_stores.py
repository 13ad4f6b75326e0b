"""Stores of experiments on the stub server, and records for them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.unit.object_store.clients import Clock, client_of
from tests.unit.object_store.stub_server import StubServer

from maskrcnn_trainer.object_store.fence.exchange_types import FenceAnswer, FenceRequest
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    OwnerIdentity,
    OwnerRecord,
    PublishedFile,
    PublishedSet,
    StepPointer,
)
from maskrcnn_trainer.object_store.fence_store import FenceStore

KEYS = StepKeys("exp", "train")
Send = Callable[[FenceRequest], FenceAnswer]


def fence_store(
    server: StubServer, directory: Path, scheme: str = "s3", *, prefix: str = "ws", **options: Any
) -> FenceStore:
    """Return the store of experiments below a prefix of the bucket ``b``, whose pauses take no time."""
    clock = options.pop("clock", Clock())
    return FenceStore(
        client_of(server, directory, scheme, **options), prefix, clock=clock, pause=clock.pause, jitter=lambda: 0.5
    )


def owner(write_id: str = "w-1", epoch: int = 1) -> OwnerRecord:
    """Return an owner."""
    return OwnerRecord(write_id, OwnerIdentity("id", "", "exp"), epoch)


def pointer(write_id: str = "t-0", seq: int = 1) -> StepPointer:
    """Return a pointer without results."""
    return StepPointer(write_id, seq, 1, AttemptOrder(1, "2026-01-31T12:00:00Z", "u", 0), "t")


def published_file(content: bytes, path: str = "model.h5", number: int = 0) -> PublishedFile:
    """Return the record of a file."""
    return PublishedFile(path, KEYS.written_once(1, "t", number, path), len(content), sha256(content).hexdigest())


def published_set(*files: PublishedFile) -> PublishedSet:
    """Return a manifest."""
    return PublishedSet("f", files)
