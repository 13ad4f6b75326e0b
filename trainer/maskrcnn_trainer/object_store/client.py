"""Client of one store: lists, reads, writes, and deletes objects through the store's helper process."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.exchange import Exchange, ReadOutcome, StoreRequest
from maskrcnn_trainer.object_store.explanations import Meaning, Operation, meaning_of
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.fence.records import ObjectVersion
from maskrcnn_trainer.object_store.frames import Message
from maskrcnn_trainer.object_store.writing import (
    Upload,
    WriteOutcome,
    create_request,
    delete_request,
    overwrite_request,
    update_request,
    upload_request,
)

PART_BYTES = 16 * 1024 * 1024
"""Size of a ranged read: so long that the time of a request doesn't count."""
MOST_SMALL = 1024 * 1024
"""Most bytes of an object that is read or written by one message."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing or a look-up reports it.

    Attributes:
        key: its whole key.
        size: in bytes.
        etag: without quotes; empty if the store has none.
        modified: the store's time of its write, in seconds since 1970; 0 if it isn't known.
    """

    key: str
    size: int
    etag: str
    modified: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class SmallObject:
    """Object that was read whole.

    Attributes:
        info: the object.
        version: as a conditional update needs it.
        content: None if it was larger than was allowed.
    """

    info: ObjectInfo
    version: ObjectVersion
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes ``start`` up to ``end`` (excluded) of an object, to be written to the same place of a file."""

    info: ObjectInfo
    path: Path
    start: int
    end: int


OnBytes = Callable[[Part, int, int], None]
"""Called with a part and the begin and end of bytes that have just been written."""


def ignore_bytes(part: Part, start: int, end: int) -> None:
    """Ignore progress."""


def parts_of(info: ObjectInfo, path: Path, start: int = 0, part_bytes: int = PART_BYTES) -> list[Part]:
    """Return the parts of an object from ``start`` on; an empty object has one empty part."""
    starts = range(start, info.size, part_bytes) or [start]
    return [Part(info, path, begin, min(begin + part_bytes, info.size)) for begin in starts]


class StoreClient:
    """Client of one store; for one thread.

    A process that uses it may fork: the library runs in the helper process alone. A forked child that uses the client
    gets a helper of its own. The helper ends with the thread that has started it; a later request starts another one.

    Args:
        connection: how the store is reached.
        options: of :class:`Exchange`: ``concurrency``, number of requests at once; ``policy``, times of back-off;
            ``stop``, returns whether to stop and is called at least every 0.2 seconds; ``on_wait``, called with the
            sentence about a failure before the request is sent again; ``clock``, ``pause``, and ``jitter``.

    Each method raises InvalidInput (64) for what a user has to correct, TryAgain (75) if the store has failed for too
    long, Stopped, and OSError for files of this machine.
    """

    def __init__(self, connection: StoreConnection, **options: Any) -> None:
        self._exchange = Exchange(connection, **options)
        self._connection = connection
        self._scheme = connection.scheme

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Return the number of the helper process; None: none runs."""
        return self._exchange.pid

    def url_of(self, key: str) -> str:
        """Return the URL of a key or prefix; that of the container for an empty one."""
        return self._connection.url_of(key)

    def close(self) -> None:
        """End the helper process; a later request starts another one."""
        self._exchange.close()

    def head(self, key: str) -> ObjectInfo | None:
        """Return an object's size and etag; None: there is no such object."""
        answer = self._exchange.single(
            StoreRequest(Operation.HEAD, key, {"op": "head", "key": key}, answers_absence=True)
        )
        return None if isinstance(answer, Enum) else _info({**answer, "key": key})

    def read(self, key: str, most: int) -> SmallObject | None:
        """Return an object with its version; None: there is no such object.

        Args:
            key: of the object.
            most: bytes up to which the content is read, at most ``MOST_SMALL``.
        """
        if most > MOST_SMALL:
            raise ValueError(f"At most {MOST_SMALL} bytes are read at once, not {most}")
        message = {"op": "read", "key": key, "most": most}
        answer = self._exchange.single(StoreRequest(Operation.READ, key, message, answers_absence=True))
        if isinstance(answer, Enum):
            return None
        info = ObjectInfo(key, answer["size"], (answer["etag"] or "").strip('"'), answer["modified"])
        content = None if answer["content"] is None else base64.b64decode(answer["content"])
        return SmallObject(info, ObjectVersion(answer["etag"], answer["version"]), content)

    def create(self, key: str, content: bytes, *, is_trial: bool = False) -> ObjectVersion | WriteOutcome:
        """Write an object of at most ``MOST_SMALL`` bytes if it doesn't exist, and return its version, or EXISTS.

        A request whose answer was lost is sent again, so that EXISTS may be about this very write. A trial finds out
        what the store has: a refusal of it isn't tried again because other writes were answered.
        """
        return self._written(create_request(key, _small(content), self._scheme, is_trial=is_trial))

    def update(
        self, key: str, content: bytes, version: ObjectVersion, *, is_trial: bool = False
    ) -> ObjectVersion | WriteOutcome:
        """Replace an object by at most ``MOST_SMALL`` bytes if it is of a version, and return its new version.

        A request whose answer was lost is sent again, so that a refusal may be about this very write. A trial: see
        :meth:`create`.

        Returns:
            the version, or CHANGED, EXISTS (another request is changing it), or ABSENT.
        """
        return self._written(update_request(key, _small(content), version, self._scheme, is_trial=is_trial))

    def overwrite(self, key: str, content: bytes) -> ObjectVersion:
        """Write an object of at most ``MOST_SMALL`` bytes, and return its version."""
        version = self._written(overwrite_request(key, _small(content)))
        assert isinstance(version, ObjectVersion)  # noqa: S101 - it has no condition
        return version

    def upload(self, files: Iterable[Upload]) -> Generator[Upload, None, None]:
        """Write objects from files, several at once, and yield each as it ends.

        When the iterator is closed before its end, uploads that are under way end at once.

        Raises:
            ObjectChanged: a file hasn't the size and SHA-256 of its upload (75).
        """
        sending: dict[int, Upload] = {}

        def requests() -> Iterator[StoreRequest]:
            for file in files:
                request = upload_request(file)
                sending[id(request)] = file
                yield request

        for request, _ in self._exchange.run(requests()):
            yield sending.pop(id(request))

    def delete(self, keys: Iterable[str]) -> Generator[tuple[str, WriteOutcome | None], None, None]:
        """Delete objects, several at once, and yield each key with None, ABSENT, or FORBIDDEN as its request ends."""
        requests = (delete_request(key, self._scheme) for key in keys)
        for request, answer in self._exchange.run(requests):
            yield request.key, answer if isinstance(answer, WriteOutcome) else None

    def link(self, key: str, seconds: float) -> str:
        """Return a URL by which anybody can read an object for a time; it contains a signature: never log it.

        Raises:
            InvalidInput: the identity can't sign.
        """
        answer = self._exchange.single(
            StoreRequest(Operation.SIGN, key, {"op": "link", "key": key, "seconds": seconds})
        )
        assert not isinstance(answer, Enum)  # noqa: S101 - a link has no outcome
        return str(answer["url"])

    def exists(self, key: str) -> bool:
        """Return whether there is an object; no, without another try, if this identity may not know."""

        def refusal(failure: Failure) -> ReadOutcome | None:
            refused = meaning_of(failure, Operation.READ, self._scheme) is Meaning.REFUSED
            return ReadOutcome.ABSENT if refused and failure.kind is FailureKind.ANSWER else None

        # the answer to HEAD would not distinguish an absent object from a refusal
        message = {"op": "read", "key": key, "most": 0}
        request = StoreRequest(Operation.READ, key, message, answers_absence=True, answer_of=refusal)
        return not isinstance(self._exchange.single(request), Enum)

    def list(self, prefix: str, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix of whole segments, as the pages of the listing arrive.

        Empty objects come last: one whose key is a prefix of others, as consoles make them for folders, is left out,
        and so is an empty one with the key of another object.

        Args:
            prefix: without a slash at its end; empty: the whole container.
            recursive: whether objects in deeper folders are included.

        Raises:
            InvalidInput: among others for a key that can't be read, by name.
        """
        empty: list[ObjectInfo] = []
        keys: set[str] = set()
        folders: set[str] = set()
        for info in self._listed(prefix, recursive, folders):
            folder = info.key.rpartition("/")[0]
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
            if not info.size:
                empty.append(info)
            elif info.key not in keys:
                keys.add(info.key)
                yield info
        for info in empty:
            if info.key not in folders and info.key not in keys:
                keys.add(info.key)
                yield info

    def level(self, prefix: str) -> tuple[frozenset[str], tuple[ObjectInfo, ...]]:
        """Return the folders directly below a prefix of whole segments, and the objects there, folders' markers too.

        Raises:
            InvalidInput: among others for an object there whose key can't be read, by name; keys below its folders
                don't matter.
        """
        folders: set[str] = set()
        objects = tuple(self._listed(prefix, recursive=False, folders=folders))
        return frozenset(folders), objects

    def fetch(
        self, parts: Iterable[Part], *, on_bytes: OnBytes = ignore_bytes
    ) -> Generator[tuple[Part, ReadOutcome], None, None]:
        """Write parts of objects to files, several at once, and yield each with its outcome as it ends.

        The size and the etag of each answer are checked. A failed read continues behind the last byte written. When
        the iterator is closed before its end, reads that are under way end at once.

        Args:
            parts: are taken one by one, as others end.
            on_bytes: called whenever bytes have been written.
        """
        empty: list[Part] = []
        reading: dict[int, Part] = {}

        def requests() -> Iterator[StoreRequest]:
            for part in parts:
                if part.start == part.end:
                    empty.append(part)
                    continue
                request = _read(part, on_bytes)
                reading[id(request)] = part
                yield request

        for request, answer in self._exchange.run(requests()):
            part = reading.pop(id(request))
            if isinstance(answer, ReadOutcome):
                yield part, answer
            elif not isinstance(answer, Enum):
                request.written(answer["written"])
                yield part, ReadOutcome.DONE
        for part in empty:
            os.close(os.open(part.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
            yield part, ReadOutcome.DONE

    def get_to_file(self, info: ObjectInfo, path: Path, *, on_bytes: OnBytes = ignore_bytes) -> None:
        """Write a whole object to a file, by ranged reads.

        Raises:
            ObjectAbsent: there is no such object (64).
            ObjectChanged: it isn't the one of ``info`` (75).
        """
        for _, outcome in self.fetch(parts_of(info, path), on_bytes=on_bytes):
            if outcome is not ReadOutcome.DONE:
                failure = Failure(FailureKind.ANSWER, status=404 if outcome is ReadOutcome.ABSENT else 412)
                raise self._exchange.error(failure, Operation.READ, info.key)

    def _written(self, request: StoreRequest) -> ObjectVersion | WriteOutcome:
        answer = self._exchange.single(request)
        if isinstance(answer, WriteOutcome):
            return answer
        assert not isinstance(answer, Enum)  # noqa: S101 - a write has no other outcome
        return ObjectVersion(answer["etag"], answer["version"])

    def _listed(self, prefix: str, recursive: bool, folders: set[str]) -> Iterator[ObjectInfo]:
        """Yield all that a listing has, and add the folders that it names; after a failure continue behind the last."""
        cursor: int | None = None
        last: str | None = None
        known: set[str] = set()
        while True:
            message: Message = {
                "op": "list", "prefix": prefix or None, "recursive": recursive, "after": last, "cursor": cursor,
            }  # fmt: skip
            request = StoreRequest(Operation.LIST, prefix, message, after_failure={"cursor": None})
            answer = self._exchange.single(request)
            assert not isinstance(answer, Enum)  # noqa: S101 - a listing has no outcome
            page = [_info(entry) for entry in answer["objects"]]
            folders.update(folder.rstrip("/") for folder in answer["folders"])
            # a folder's marker is listed without its slash, and so is found again behind its own key
            yield from (info for info in page if info.key not in known)
            cursor = answer["cursor"]
            if cursor is None:
                return
            if page and recursive:
                known, last = {info.key for info in page}, page[-1].key


def _info(record: Message) -> ObjectInfo:
    return ObjectInfo(record["key"], record["size"], record["etag"], record["modified"])


def _small(content: bytes) -> bytes:
    if len(content) > MOST_SMALL:
        raise ValueError(f"At most {MOST_SMALL} bytes are written at once, not {len(content)}")
    return content


def _read(part: Part, on_bytes: OnBytes) -> StoreRequest:
    message = {
        "op": "fetch",
        "key": part.info.key,
        "path": os.fspath(part.path.absolute()),
        "start": part.start,
        "end": part.end,
        "size": part.info.size,
        "etag": part.info.etag,
    }
    return StoreRequest(
        Operation.READ,
        part.info.key,
        message,
        on_written=lambda start, end: on_bytes(part, start, end),
        answers_absence=True,
    )
