"""Requests that change a store, and what follows from its refusals."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from maskrcnn_trainer.object_store.exchange import StoreRequest
from maskrcnn_trainer.object_store.explanations import Meaning, Operation, meaning_of, meaning_of_code
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.fence.records import ObjectVersion


class WriteOutcome(Enum):
    """Refusals of a conditional write, and of a deletion."""

    CHANGED = auto()
    """The object is of another version."""
    EXISTS = auto()
    """There is such an object, or another request is changing it."""
    ABSENT = auto()
    """There is no such object."""
    FORBIDDEN = auto()
    """The identity may not delete the object, or it is protected."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Object to be written from a file.

    Attributes:
        key: of the object.
        path: of the file, which isn't a link.
        size: of the file in bytes.
        sha256: of its content, in hexadecimal digits.
        on_bytes: called with the number of further bytes that were sent.
    """

    key: str
    path: Path
    size: int
    sha256: str
    on_bytes: Callable[[int], None] = lambda _: None


def create_request(key: str, content: bytes, scheme: str, *, is_trial: bool = False) -> StoreRequest:
    """Return the write of an object that doesn't exist. Its answer can be EXISTS.

    Args:
        key: of the object.
        content: of the object.
        scheme: of the store.
        is_trial: see :class:`StoreRequest`.
    """

    def refusal(failure: Failure) -> WriteOutcome | None:
        return WriteOutcome.EXISTS if _is_conflict(failure, (304, 409, 412), scheme) else None

    return _put(key, content, "create", refusal, is_trial=is_trial)


def update_request(
    key: str, content: bytes, version: ObjectVersion, scheme: str, *, is_trial: bool = False
) -> StoreRequest:
    """Return the write of an object that is of a version. Its answer can be CHANGED, EXISTS, or ABSENT.

    Args:
        key: of the object.
        content: of the object.
        version: that is replaced.
        scheme: of the store.
        is_trial: see :class:`StoreRequest`.
    """

    def refusal(failure: Failure) -> WriteOutcome | None:
        if not _is_conflict(failure, (404, 409, 412), scheme):
            return None
        return {404: WriteOutcome.ABSENT, 409: WriteOutcome.EXISTS, 412: WriteOutcome.CHANGED}[failure.status]

    # the library refuses a part that is None
    parts = {"e_tag": version.e_tag, "version": version.version}
    mode = {name: value for name, value in parts.items() if value is not None}
    return _put(key, content, mode, refusal, is_trial=is_trial)


def overwrite_request(key: str, content: bytes) -> StoreRequest:
    """Return the write of an object, whether or not it exists."""
    return _put(key, content, "overwrite", lambda _: None)


def upload_request(upload: Upload) -> StoreRequest:
    """Return the write of an object from a file, whether or not the object exists."""
    message = {
        "op": "upload",
        "key": upload.key,
        "path": os.fspath(upload.path.absolute()),
        "size": upload.size,
        "sha256": upload.sha256,
    }
    return StoreRequest(Operation.WRITE, upload.key, message, on_sent=_Rise(upload.on_bytes))


def delete_request(key: str, scheme: str) -> StoreRequest:
    """Return the deletion of an object. Its answer can be ABSENT or FORBIDDEN."""

    def refusal(failure: Failure) -> WriteOutcome | None:
        if _is_conflict(failure, (404,), scheme):
            return WriteOutcome.ABSENT
        return WriteOutcome.FORBIDDEN if _is_protected(failure, scheme) else None

    return StoreRequest(Operation.DELETE, key, {"op": "delete", "key": key}, answer_of=refusal)


def _put(
    key: str,
    content: bytes,
    mode: str | dict[str, str],
    refusal: Callable[[Failure], WriteOutcome | None],
    *,
    is_trial: bool = False,
) -> StoreRequest:
    message = {"op": "put", "key": key, "content": base64.b64encode(content).decode("ascii"), "mode": mode}
    return StoreRequest(Operation.WRITE, key, message, is_trial=is_trial, answer_of=refusal)


class _Rise:
    """Rise of a number above its highest value: a file that is sent again counts once."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes
        self._highest = 0

    def __call__(self, sent: int) -> None:
        if sent > self._highest:
            before, self._highest = self._highest, sent
            self._on_bytes(sent - before)


def _is_conflict(failure: Failure, statuses: tuple[int, ...], scheme: str) -> bool:
    """Return whether an answer is about the object, and not about the bucket, the identity, or a busy store."""
    if failure.kind is not FailureKind.ANSWER or failure.status not in statuses:
        return False
    return meaning_of_code(failure.code, Operation.WRITE, scheme) in (None, Meaning.ABSENT)


def _is_protected(failure: Failure, scheme: str) -> bool:
    """Return whether a deletion is refused by a permission, a retention, an immutability policy, or a lease."""
    if failure.kind is not FailureKind.ANSWER or failure.status not in (403, 409, 412):
        return False
    return meaning_of(failure, Operation.DELETE, scheme) is Meaning.FORBIDDEN
