"""Operations of the helper process on small objects, and uploads of files."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from maskrcnn_trainer.object_store.content_types import content_type_of
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.frames import Message
from maskrcnn_trainer.object_store.helper_errors import Failed, LocalFailure

if TYPE_CHECKING:
    from obstore import Attributes
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
    result = obstore.put(
        store,
        request["key"],
        content,
        attributes=_attributes_of(request["key"]),
        mode=request["mode"],
        use_multipart=False,
    )
    return {"etag": result["e_tag"], "version": result["version"]}


def _attributes_of(key: str) -> Attributes | None:
    content_type = content_type_of(key)
    return {"Content-Type": content_type} if content_type else None


def delete_one(store: Store, request: Message) -> Message:
    """Delete an object."""
    import obstore

    obstore.delete(store, request["key"])
    return {}


def sign_link(store: Store, request: Message) -> Message:
    """Return a URL by which an object can be read for a time.

    Raises:
        Failed: the identity can't sign a link to this key.
    """
    import obstore
    from obstore.store import AzureStore, GCSStore

    key = request["key"]
    # for GCS the library takes the key as a part of the URL, and so "%41" as "A"
    signed = quote(key, safe="/~") if isinstance(store, GCSStore) else key
    url = obstore.sign(store, "GET", signed, timedelta(seconds=request["seconds"]))
    return {"url": _with_decoded_signature(store, key, url) if isinstance(store, AzureStore) else url}


def _with_decoded_signature(store: AzureStore, key: str, url: str) -> str:
    """Return a link of Azure whose signature is of the decoded path, as "Create a service SAS" describes.

    The library signs the path as the URL has it, which the store refuses if a character of it is encoded.

    Raises:
        Failed: that path is another one, and only the library has the key with which it signs.
    """
    parts = urlsplit(url)
    if unquote(parts.path) == parts.path:
        return url
    config = store.config
    account, container, secret = (config.get(name) for name in ("account_name", "container_name", "account_key"))
    if not secret:
        raise Failed(Failure(FailureKind.UNSIGNABLE, detail=key))
    query = dict(parse_qsl(parts.query))
    resource = f"/blob/{account}/{container}/{key}"
    # permissions, start, expiry, resource; identifier, IP, protocol; version, kind; snapshot, scope, five headers
    fields = [query["sp"], query["st"], query["se"], resource, "", "", "", query["sv"], query["sr"], *[""] * 7]
    signature = hmac.digest(base64.b64decode(str(secret)), "\n".join(fields).encode(), hashlib.sha256)
    query["sig"] = base64.b64encode(signature).decode("ascii")
    return urlunsplit(parts._replace(query=urlencode(query)))


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
    attributes = _attributes_of(request["key"])
    with _SourceFile(request["path"], size, on_sent) as source, room.taken(size):
        if size <= UPLOAD_PART:
            content: Any = source.read(size + 1)
            source.verify(request["sha256"])
            obstore.put(store, request["key"], content, attributes=attributes, use_multipart=False)
            return {}
        try:
            obstore.put(
                store,
                request["key"],
                source.pieces(),
                attributes=attributes,
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
