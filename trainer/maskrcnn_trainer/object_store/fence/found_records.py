"""Checks of the pointer and the manifests of a step, as every decision that reads them makes them."""

from __future__ import annotations

from maskrcnn_trainer.object_store.fence.exchange_types import DamagedStore, FoundRecord
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, ObjectVersion, PublishedSet, StepPointer


def pointer_in(found: FoundRecord, key: str, incomplete: ObjectVersion | None = None) -> StepPointer | DamagedStore:
    """Return the pointer that was read.

    Args:
        found: what was read.
        key: of the pointer.
        incomplete: version of a pointer that named an object which was absent. Cleaning may have deleted that object
            only after the pointer was replaced, so the same version once more is damage.
    """
    if not isinstance(found.content, StepPointer):
        return DamagedStore(key, "isn't a pointer")
    if found.version == incomplete:
        return DamagedStore(key, "names an object that doesn't exist")
    return found.content


def set_in(found: FoundRecord, slot: FingerprintSlot) -> PublishedSet | DamagedStore:
    """Return the manifest of a slot that was read."""
    if not isinstance(found.content, PublishedSet) or found.content.fingerprint != slot.fingerprint:
        return DamagedStore(slot.manifest, "isn't the manifest of the fingerprint that the pointer states")
    return found.content
