"""Steps that have published files, as objects of a store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from maskrcnn_trainer.object_store.fence.encoding import encode_record
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    FingerprintSlot,
    PublishedFile,
    PublishedSet,
    StepPointer,
)

ORDER = AttemptOrder(1, "2026-01-31T12:00:00Z", "uid-1", 1)


def published_step(
    experiment: str, step: str, *sets: tuple[str, Mapping[str, bytes]], root: str = "", write: int = 1
) -> dict[str, bytes]:
    """Return the objects of a step by key.

    Args:
        experiment: its name.
        step: its name.
        sets: fingerprint and files by path, of the current slot, and of the previous one.
        root: key of the URL of all experiments.
        write: number of the pointer's write, and of the objects' names.
    """
    keys = StepKeys(experiment, step)
    above = f"{root}/" if root else ""
    objects: dict[str, bytes] = {}
    slots: list[FingerprintSlot | None] = [None, None]
    for place, (fingerprint, contents) in enumerate(sets):
        files = []
        for number, (path, content) in enumerate(contents.items()):
            key = keys.written_once(1, "aa", 1000 * write + 100 * place + number, path)
            objects[above + key] = content
            files.append(PublishedFile(path, key, len(content), hashlib.sha256(content).hexdigest()))
        manifest = keys.written_once(1, "aa", 1000 * write + 100 * place + 99, "manifest.json")
        objects[above + manifest] = encode_record(PublishedSet(fingerprint, tuple(files)))
        slots[place] = FingerprintSlot(fingerprint, manifest)
    pointer = StepPointer(f"aa-{write}", write, 1, ORDER, "aa", slots[0], slots[1])
    return {**objects, above + keys.pointer: encode_record(pointer)}


def stored_key(objects: Mapping[str, bytes], content: bytes) -> str:
    """Return the key of the object with a content."""
    return next(key for key, found in objects.items() if found == content)
