"""Operations of the helper process on small objects, and uploads of files."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.frames import Message
from maskrcnn_trainer.object_store.helper_errors import Failed, LocalFailure

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Store = S3Store | GCSStore | AzureStore

UPLOAD_PART = 8 * 1024 * 1024
"""Bytes of a part of an upload; S3 takes at least 5 MiB, and at most 10,000 parts."""
PARTS_AT_ONCE = 4
"""Parts that are sent at once, of all uploads together: each is in memory, twice for a moment."""
_PIECE = 1024 * 1024


class UploadRoom:
    """Memory for parts of uploads, shared by the threads of the helper."""

    def __init__(self, size: int = UPLOAD_PART * PARTS_AT_ONCE) -> None:
        self._free = self._size = size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Take bytes, at most all of them, once so many are free."""
        taken = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


def read_small(store: Store, request: Message) -> Message:
    """Return content and version of an object; without content if it has more than ``most`` bytes."""
    import obstore

    result = obstore.get(store, request["key"])
    meta = result.meta
    if meta["e_tag"] is None and meta["last_modified"].timestamp() == 0.0:
        # neither header was in the answer, as in that of a server which answers 200 to every request
        raise Failed(Failure(FailureKind.BAD_ANSWER))
    answer = {
        "size": meta["size"],
        "etag": meta["e_tag"],
        "version": meta["version"],
        "modified": meta["last_modified"].timestamp(),
        "content": None,
    }
    if meta["size"] > request["most"]:
        return answer
    content = bytearray()
    for chunk in result.stream():
        content += chunk
        if len(content) > meta["size"]:
            raise Failed(Failure(FailureKind.BAD_ANSWER))
    if len(content) < meta["size"]:
        raise Failed(Failure(FailureKind.INTERRUPTED))
    return {**answer, "content": base64.b64encode(content).decode("ascii")}


def put_small(store: Store, request: Message) -> Message:
    """Write an object from the message, under its condition, and return the version."""
    import obstore

    content = base64.b64decode(request["content"])
    result = obstore.put(store, request["key"], content, mode=request["mode"], use_multipart=False)
    return {"etag": result["e_tag"], "version": result["version"]}


def delete_one(store: Store, request: Message) -> Message:
    """Delete an object."""
    import obstore

    obstore.delete(store, request["key"])
    return {}


def sign_link(store: Store, request: Message) -> Message:
    """Return a URL by which an object can be read for a time."""
    import obstore

    return {"url": obstore.sign(store, "GET", request["key"], timedelta(seconds=request["seconds"]))}


def upload_file(store: Store, request: Message, room: UploadRoom, on_sent: Callable[[int], None]) -> Message:
    """Write an object from a file whose size and SHA-256 are verified.

    Args:
        store: a large file is sent in parts, which it sends again itself after a failure.
        request: message.
        room: memory for the parts.
        on_sent: called with the number of bytes that were read to be sent.
    """
    import obstore

    size: int = request["size"]
    with _SourceFile(request["path"], size, on_sent) as source, room.taken(size):
        if size <= UPLOAD_PART:
            content: Any = source.read(size + 1)
            source.verify(request["sha256"])
            obstore.put(store, request["key"], content, use_multipart=False)
            return {}
        try:
            obstore.put(
                store,
                request["key"],
                source.pieces(),
                use_multipart=True,
                chunk_size=UPLOAD_PART,
                max_concurrency=PARTS_AT_ONCE,
            )
        except BaseException:
            if source.failure is not None:
                raise source.failure from None
            raise
        source.verify(request["sha256"])
    return {}


class _SourceFile:
    """File that is read once, from its begin to its end, while its SHA-256 is computed.

    Attributes:
        failure: of a read, which the library reports as its own.
    """

    def __init__(self, path: str, size: int, on_sent: Callable[[int], None]) -> None:
        self._path, self._size, self._on_sent = path, size, on_sent
        self._digest = hashlib.sha256()
        self._read = 0
        self.failure: LocalFailure | None = None
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise LocalFailure(error, path) from error

    def __enter__(self) -> _SourceFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self, size: int) -> bytes:
        """Return the next bytes; fewer only at the end."""
        pieces = bytearray()
        try:
            while len(pieces) < size and (piece := os.read(self._file, size - len(pieces))):
                pieces += piece
        except OSError as error:
            self.failure = LocalFailure(error, self._path)
            raise self.failure from error
        self._digest.update(pieces)
        self._read += len(pieces)
        self._on_sent(min(self._read, self._size))
        return bytes(pieces)

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes, piece by piece."""
        while piece := self.read(_PIECE):
            yield piece

    def verify(self, sha256: str) -> None:
        """Refuse a file that isn't the one whose size and SHA-256 are given.

        Raises:
            Failed: it isn't.
        """
        if (self._read, self._digest.hexdigest()) != (self._size, sha256):
            raise Failed(Failure(FailureKind.SOURCE))
