"""Records from content of a store or of a rendezvous.

Any writer with access to the bucket can have forged the one, and any process that reaches node 0 the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.keys import StepKeys, owner_key
from maskrcnn_trainer.object_store.fence.records import (
    MOST_GARBAGE,
    AttemptOrder,
    ClaimName,
    FenceRecord,
    FingerprintSlot,
    NodeLog,
    OwnerIdentity,
    OwnerRecord,
    PublishedFile,
    PublishedSet,
    StepPointer,
)

LARGEST_OWNER = 16 * 1024
"""Most bytes of ``owner.json`` that are read."""
LARGEST_POINTER = 1024 * 1024
"""Most bytes of a pointer that are read: a full list of garbage has 500 kB."""
LARGEST_MANIFEST = 64 * 1024 * 1024
"""Most bytes of a manifest that are read: one of 100,000 files has 40 MB."""
LARGEST_MESSAGE = 4096
"""Most bytes of a message between nodes that are read: one has 300."""
MOST_FILES = 200_000
LONGEST_PATH = 1024
LONGEST_PART = 255

_LARGEST_NUMBER = 10**18 - 2
"""Largest number, so that the next epoch still fits into a key."""
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
_WORD = re.compile(r"[0-9A-Za-z._:-]{1,128}")
_TOKEN = re.compile(r"[0-9a-z]{1,64}")
_TIME = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE_IN_PATH = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\]")
_T = TypeVar("_T")


def most_bytes(key: str, keys: StepKeys) -> int:
    """Return the most bytes of a record that are read from the store: one more is enough to refuse it."""
    return {keys.owner: LARGEST_OWNER, keys.pointer: LARGEST_POINTER}.get(key, LARGEST_MANIFEST)


def parse_record(content: bytes, key: str, keys: StepKeys) -> FenceRecord:
    """Return the owner, the pointer, or the manifest that a key has.

    Raises:
        InvalidInput: it isn't one, or the key isn't one of this step.
    """
    if key == keys.owner:
        return parse_owner(content, keys.experiment)
    if key == keys.pointer:
        return parse_pointer(content, keys)
    if keys.parse(key) is None:
        raise InvalidInput(f"{_shown(key)} isn't a key of {keys.prefix}o/", reason="StoreRefused")
    return parse_manifest(content, keys, key)


def parse_owner(content: bytes, experiment: str) -> OwnerRecord:
    """Return the record of ``owner.json``.

    Raises:
        InvalidInput: it isn't one.
    """
    fields = _Fields(owner_key(experiment), _document(content, owner_key(experiment), LARGEST_OWNER))
    owner: OwnerIdentity | None = None
    if fields.value("owner") != "deleted":
        inner = fields.object("owner")
        owner = OwnerIdentity(inner.text("id", 256), inner.text("namespace", 256), inner.text("name", 256))
    return OwnerRecord(fields.word("writeId"), owner, fields.number("ownerEpoch", 1), fields.text("store", 256))


def parse_pointer(content: bytes, keys: StepKeys) -> StepPointer:
    """Return the content of a step's pointer.

    Raises:
        InvalidInput: it isn't one, or names a key that isn't one of this step.
    """
    fields = _Fields(keys.pointer, _document(content, keys.pointer, LARGEST_POINTER))
    order = fields.object("order")
    epoch = fields.number("epoch", 1)
    slots = fields.object("fingerprints")
    current, previous = (_slot(slots, name, keys, epoch) for name in ("current", "previous"))
    if current is not None and previous is not None and current.fingerprint == previous.fingerprint:
        raise fields.error("fingerprints", "has the same fingerprint twice")
    garbage = tuple(_own_key(fields, "garbage", key, keys, epoch) for key in fields.list("garbage", MOST_GARBAGE))
    if {slot.manifest for slot in (current, previous) if slot is not None} & set(garbage):
        raise fields.error("garbage", "has a manifest that is named as well")
    return StepPointer(
        fields.word("writeId"),
        fields.number("seq", 1),
        epoch,
        AttemptOrder(
            order.number("ownerEpoch", 1),
            order.matching("creationTimestamp", _TIME, "a time such as 2026-01-31T12:00:00Z"),
            order.text("uid", 128),
            order.number("attempt", 0),
        ),
        fields.matching("token", _TOKEN, "digits and lower-case letters"),
        current,
        previous,
        garbage,
    )


def parse_manifest(content: bytes, keys: StepKeys, key: str) -> PublishedSet:
    """Return the content of a manifest.

    Raises:
        InvalidInput: it isn't one, names a key that isn't one of this step, or a path that leaves the directory.
    """
    fields = _Fields(key, _document(content, key, LARGEST_MANIFEST))
    files = tuple(_file(_Fields(key, entry), keys) for entry in fields.list("files", MOST_FILES))
    folders = {folder for file in files for folder in _folders(file.path)}
    paths: set[str] = set()
    for file in files:
        if file.path in paths or file.path in folders:
            raise fields.error("files", f"has the path {_shown(file.path)} twice, or as a file and as a directory")
        paths.add(file.path)
    checkpoints = tuple(
        _known(fields, "checkpoints", path, paths | folders) for path in fields.list("checkpoints", 1000)
    )
    best, result = fields.value("best"), fields.value("result")
    return PublishedSet(
        fields.word("fingerprint"),
        files,
        checkpoints,
        None if best is None else _known(fields, "best", best, set(checkpoints)),
        None if result is None else _known(fields, "result", result, paths),
    )


def parse_claim_name(content: bytes) -> ClaimName:
    """Return the claim that node 0 of a worker group names.

    Raises:
        InvalidInput: it isn't one.
    """
    fields = _Fields("the claim of node 0", _document(content, "the claim of node 0", LARGEST_MESSAGE))
    return ClaimName(fields.number("epoch", 1), fields.matching("token", _TOKEN, "digits and lower-case letters"))


def parse_node_log(content: bytes, keys: StepKeys) -> NodeLog:
    """Return the log that another node of a worker group has uploaded.

    Raises:
        InvalidInput: it isn't one, or its key isn't one of this step.
    """
    fields = _Fields("the log of a node", _document(content, "the log of a node", LARGEST_MESSAGE))
    return NodeLog(
        _own_key(fields, "key", fields.value("key"), keys, None),
        fields.number("bytes", 0),
        fields.matching("sha256", _SHA256, "64 hexadecimal digits"),
        fields.value("isLast") is True,
    )


def refuse_unsafe_path(path: object, source: str) -> str:
    """Return a relative path that stays below the directory to which it is relative.

    Raises:
        InvalidInput: it doesn't.
    """
    if not isinstance(path, str):
        raise InvalidInput(f"{source}: the path {_shown(path)} isn't a text", reason="StoreRefused")
    problem = None
    if not path:
        problem = "is empty"
    elif _UNSAFE_IN_PATH.search(path):
        problem = "has a backslash or a control character"
    elif path.startswith("/"):
        problem = "begins with a slash"
    elif any(part in ("", ".", "..") for part in path.split("/")):
        problem = 'has a part that is empty, ".", or ".."'
    elif len(path.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_PART for part in path.split("/")):
        problem = f"is longer than {LONGEST_PATH} bytes, or has a part of more than {LONGEST_PART}"
    if problem is not None:
        raise InvalidInput(f"{source}: the path {_shown(path)} {problem}", reason="StoreRefused")
    return path


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _shown(value: object) -> str:
    """Return a value as an error message shows it: short, and without control characters."""
    shown = ascii(value)
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def _document(content: bytes, key: str, most: int) -> Any:
    if len(content) > most:
        raise InvalidInput(f"{key} has more than {most} bytes", reason="StoreRefused")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{key} isn't JSON", reason="StoreRefused") from error


class _Fields:
    """Fields of an object of an untrusted document."""

    def __init__(self, source: str, fields: object) -> None:
        if not isinstance(fields, dict):
            raise InvalidInput(f"{source}: {_shown(fields)} isn't an object with fields", reason="StoreRefused")
        self.source = source
        self.fields = fields

    def error(self, field: str, problem: str) -> InvalidInput:
        """Return the error about a field."""
        return InvalidInput(f"{self.source}: {field} {problem}", reason="StoreRefused")

    def value(self, field: str) -> Any:
        """Return any value, None if there is none."""
        return self.fields.get(field)

    def object(self, field: str) -> _Fields:
        """Return the fields of an inner object."""
        return _Fields(f"{self.source}: {field}", self.value(field))

    def _checked(self, field: str, check: Callable[[Any], _T | None], right: str) -> _T:
        found = check(self.value(field))
        if found is None:
            raise self.error(field, f"is {_shown(self.value(field))}, not {right}")
        return found

    def matching(self, field: str, pattern: re.Pattern[str], right: str) -> str:
        """Return a text of a form."""
        return self._checked(
            field, lambda value: value if isinstance(value, str) and pattern.fullmatch(value) else None, right
        )

    def text(self, field: str, most: int) -> str:
        """Return a text without control characters."""
        found = self.matching(field, _TEXT, "a text without control characters")
        if len(found) > most:
            raise self.error(field, f"has more than {most} characters")
        return found

    def word(self, field: str) -> str:
        """Return an id."""
        return self.matching(field, _WORD, "1 to 128 letters, digits, and . _ : -")

    def number(self, field: str, least: int) -> int:
        """Return a whole number."""
        return self._checked(
            field,
            lambda value: value if type(value) is int and least <= value <= _LARGEST_NUMBER else None,
            f"a whole number from {least}",
        )

    def list(self, field: str, most: int) -> list[Any]:
        """Return a list that isn't too long."""
        found = self._checked(field, lambda value: value if isinstance(value, list) else None, "a list")
        if len(found) > most:
            raise self.error(field, f"has more than {most} entries")
        return found


def _own_key(fields: _Fields, field: str, key: object, keys: StepKeys, epoch: int | None) -> str:
    parts = keys.parse(key) if isinstance(key, str) else None
    if not isinstance(key, str) or parts is None:
        raise fields.error(field, f"has {_shown(key)}, which isn't a key of {keys.prefix}o/")
    if epoch is not None and parts.epoch > epoch:
        raise fields.error(field, f"has {_shown(key)}, whose epoch is above {epoch}")
    return key


def _slot(slots: _Fields, name: str, keys: StepKeys, epoch: int) -> FingerprintSlot | None:
    if slots.value(name) is None:
        return None
    slot = slots.object(name)
    manifest = _own_key(slot, "manifest", slot.value("manifest"), keys, epoch)
    return FingerprintSlot(slot.word("fingerprint"), manifest)


def _file(fields: _Fields, keys: StepKeys) -> PublishedFile:
    return PublishedFile(
        refuse_unsafe_path(fields.value("path"), fields.source),
        _own_key(fields, "key", fields.value("key"), keys, None),
        fields.number("bytes", 0),
        fields.matching("sha256", _SHA256, "64 hexadecimal digits"),
    )


def _known(fields: _Fields, field: str, path: object, known: set[str]) -> str:
    if not isinstance(path, str) or path not in known:
        raise fields.error(field, f"has {_shown(path)}, which the manifest doesn't list")
    return path
