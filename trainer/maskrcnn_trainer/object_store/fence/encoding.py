"""JSON of the records, as it lies in the store, and of the messages between the nodes of a worker group."""

from __future__ import annotations

import json
from typing import Any

from maskrcnn_trainer.object_store.fence.records import (
    ClaimName,
    FenceRecord,
    FingerprintSlot,
    NodeLog,
    OwnerRecord,
    PublishedSet,
    StepPointer,
)


def encode_record(record: FenceRecord) -> bytes:
    """Return the content of an owner, pointer, or manifest."""
    if isinstance(record, OwnerRecord):
        document = _owner(record)
    elif isinstance(record, StepPointer):
        document = _pointer(record)
    else:
        document = _manifest(record)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def encode_claim_name(claim: ClaimName) -> bytes:
    """Return the message in which node 0 names its claim."""
    return json.dumps({"epoch": claim.epoch, "token": claim.token}).encode()


def encode_node_log(log: NodeLog) -> bytes:
    """Return the message in which another node announces an upload of its log."""
    return json.dumps({"key": log.key, "bytes": log.size, "sha256": log.sha256, "isLast": log.is_last}).encode()


def _owner(record: OwnerRecord) -> dict[str, Any]:
    owner = record.owner
    return {
        "writeId": record.write_id,
        "owner": (
            "deleted" if owner is None else {"id": owner.owner_id, "namespace": owner.namespace, "name": owner.name}
        ),
        "ownerEpoch": record.epoch,
        "store": record.store,
    }


def _slot(slot: FingerprintSlot | None) -> dict[str, str] | None:
    return None if slot is None else {"fingerprint": slot.fingerprint, "manifest": slot.manifest}


def _pointer(record: StepPointer) -> dict[str, Any]:
    order = record.order
    return {
        "writeId": record.write_id,
        "seq": record.seq,
        "epoch": record.epoch,
        "order": {
            "ownerEpoch": order.owner_epoch,
            "creationTimestamp": order.created,
            "uid": order.uid,
            "attempt": order.attempt,
        },
        "token": record.token,
        "fingerprints": {"current": _slot(record.current), "previous": _slot(record.previous)},
        "garbage": list(record.garbage),
    }


def _manifest(record: PublishedSet) -> dict[str, Any]:
    files = [{"path": file.path, "key": file.key, "bytes": file.size, "sha256": file.sha256} for file in record.files]
    return {
        "fingerprint": record.fingerprint,
        "files": files,
        "checkpoints": list(record.checkpoints),
        "best": record.best,
        "result": record.result,
    }
