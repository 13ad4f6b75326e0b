"""Store of experiments: answers the requests of the fence's decisions from a real object store."""

from __future__ import annotations

import random
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput, TryAgain, WorkspaceFull, as_task_error
from maskrcnn_trainer.object_store.client import MOST_SMALL, SmallObject, StoreClient
from maskrcnn_trainer.object_store.connection import connection_for
from maskrcnn_trainer.object_store.explanations import REFUSED
from maskrcnn_trainer.object_store.fence.encoding import encode_record
from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DeleteKeys,
    FenceAnswer,
    FenceReply,
    FenceRequest,
    FetchedKeys,
    FetchFiles,
    FoundRecord,
    GetRecord,
    ListedKey,
    ListedKeys,
    ListKeys,
    PutFiles,
    PutRecord,
    UpdateRecord,
    UploadedKeys,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.explaining import conditional_writes_missing, remedy_of_damage
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import ObjectVersion, PublishedFile
from maskrcnn_trainer.object_store.fence.untrusted import most_bytes, parse_record, refuse_unsafe_path
from maskrcnn_trainer.object_store.resumed_file import fetch_resumed
from maskrcnn_trainer.object_store.retries import KeyUnlistable, ObjectAbsent
from maskrcnn_trainer.object_store.verified_files import fetch_verified
from maskrcnn_trainer.object_store.writing import Upload, WriteOutcome
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec

SECONDS_BETWEEN_RECORD_WRITES = 1.0
"""Time between two writes of one object: Cloud Storage takes one a second (https://cloud.google.com/storage/quotas)."""
LONGEST_JITTER = 1.0
"""Longest wait before a creation that was refused is tried again, in seconds."""
SECONDS_OF_REFUSALS = 300.0
"""Time after which a record whose writes are refused again and again is given up."""
SECONDS_OF_REST = 60.0
"""Time without a refusal after which a later one begins a new series."""
MOST_LISTED = 500_000
"""Most keys of a listing, far more than a step has; a longer one is incomplete, and its rest isn't requested."""
FORBIDDEN_DELETIONS = 16
"""Deletions that may be refused before the rest isn't tried."""

_REFUSALS = {
    WriteOutcome.CHANGED: FenceReply.PRECONDITION,
    WriteOutcome.EXISTS: FenceReply.ALREADY_EXISTS,
    WriteOutcome.ABSENT: FenceReply.NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class StoreLevel:
    """Folders and objects directly below a prefix, by their last segments.

    Attributes:
        folders: in order.
        objects: among them markers of folders.
        complete: whether they are known; False if the library can't list an object there.
    """

    folders: tuple[str, ...] = ()
    objects: frozenset[str] = frozenset()
    complete: bool = True


class FenceStore:
    """Store of all experiments below one URL; for one thread, like its client.

    Args:
        client: of the store.
        prefix: key of the URL of all experiments; empty: the container itself.
        clock: seconds of a clock that only rises.
        pause: waits for a number of seconds.
        jitter: returns a random number in [0, 1).
    """

    def __init__(
        self,
        client: StoreClient,
        prefix: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._pause = pause
        self._jitter = jitter
        self._turns = _Turns(clock, pause)

    @property
    def url(self) -> str:
        """Return the URL of all experiments, for messages."""
        return self._client.url_of(self._prefix)

    def sender(
        self,
        *,
        sources: Path | None = None,
        into: Path | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Callable[[FenceRequest], FenceAnswer]:
        """Return the function that carries out requests.

        It sends a request again until the store answers, and then returns the answer, which is never UNANSWERED: an
        answer to a conditional write can be about an earlier sending of the same content. If the function raises, the
        request counts as unanswered.

        Args:
            sources: directory whose files PutFiles uploads, by their ``path``.
            into: existing directory to which FetchFiles writes files, by their ``path``.
            on_bytes: called with the number of further bytes of files that were sent or received.

        The function raises:
            InvalidInput: the store refuses, or a record or a file in it is damaged (64).
            TryAgain: the store has failed for the time of the client's policy (75).
            WorkspaceFull: there is no room below ``into``, or for temporary files (70).
            Stopped: as the client's ``stop`` requests, which can also be a deadline.
            OSError: of a local file.
        """

        def send(request: FenceRequest) -> FenceAnswer:
            try:
                return self._answer(request, sources, into, on_bytes)
            except OSError as error:
                known = as_task_error(error)
                raise known if isinstance(known, WorkspaceFull) else error from error

        return send

    def level(self, prefix: str) -> StoreLevel:
        """Return the folders and objects directly below a prefix.

        Args:
            prefix: relative to the URL of all experiments, without a slash at its end; empty: the URL itself.

        Raises:
            InvalidInput, TryAgain, Stopped: see :meth:`sender`.
        """
        try:
            folders, objects = self._client.level(self._key(prefix))
        except KeyUnlistable:
            return StoreLevel(complete=False)
        names = (folder.rpartition("/")[2] for folder in folders)
        return StoreLevel(
            tuple(sorted(filter(None, names))), frozenset(info.key.rpartition("/")[2] for info in objects)
        )

    def resume(
        self, file: PublishedFile, folder: Path, *, on_bytes: Callable[[int], None] = lambda _: None
    ) -> Path | None:
        """Return a verified copy of a file of several parts; see :func:`fetch_resumed`, which has the arguments."""
        return fetch_resumed(self._client, file, folder, key_of=self._key, on_bytes=on_bytes)

    def link(self, key: str, seconds: float) -> str:
        """Return a URL by which anybody can read an object for a time; it contains a signature: never log it.

        Args:
            key: relative to the URL of all experiments.
            seconds: time from now.

        Raises:
            InvalidInput: the identity can't sign (64).
            TryAgain: see :meth:`sender`.
        """
        return self._client.link(self._key(key), seconds)

    def _answer(
        self, request: FenceRequest, sources: Path | None, into: Path | None, on_bytes: Callable[[int], None]
    ) -> FenceAnswer:
        match request:
            case GetRecord(key):
                return self._get(key)
            case CreateRecord() | UpdateRecord():
                return self._write(request)
            case PutRecord(key, body):
                return WrittenRecord(self._put(self._key(key), encode_record(body)))
            case ListKeys(prefix):
                return self._list(prefix)
            case DeleteKeys(keys):
                return self._delete(keys)
            case PutFiles() | FetchFiles():
                return self._moved(request, sources, into, on_bytes)

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix and key else self._prefix or key

    def _get(self, key: str) -> FenceAnswer:
        keys = StepKeys(*key.split("/")[:2])
        most = most_bytes(key, keys)
        found = self._client.read(self._key(key), min(most, MOST_SMALL))
        if found is None:
            return FenceReply.NOT_FOUND
        content = found.content if found.content is not None else self._large(found, key, most)
        if content is None:
            return FenceReply.NOT_FOUND
        try:
            record = parse_record(content, key, keys)
        except InvalidInput as error:
            problem = f"{self.url}/{error}; {remedy_of_damage(key, self.url)}"
            raise InvalidInput(problem, reason=error.reason) from error
        return FoundRecord(record, found.version, found.info.modified)

    def _large(self, found: SmallObject, key: str, most: int) -> bytes | None:
        """Return the content of an object that isn't small; None: there is no such object any more."""
        info = found.info
        if info.size > most:
            raise InvalidInput(
                f"{self._client.url_of(info.key)}: has {info.size} bytes; at most {most} are expected; "
                f"{remedy_of_damage(key, self.url)}",
                reason="StoreRefused",
            )
        with tempfile.TemporaryDirectory(prefix="maskrcnn-record-") as folder:
            file = Path(folder, "record")
            try:
                self._client.get_to_file(info, file)
            except ObjectAbsent:
                return None
            return file.read_bytes()

    def _write(self, request: CreateRecord | UpdateRecord) -> FenceAnswer:
        if isinstance(request, CreateRecord) and request.after_jitter:
            self._pause(self._jitter() * LONGEST_JITTER)
        if isinstance(request.body, bytes):
            return self._sent(request, request.body)
        with self._turns.turn(request.key):
            answer = self._sent(request, encode_record(request.body))
        if self._turns.is_refused_for_long(request.key, refused=isinstance(answer, FenceReply)):
            raise TryAgain(
                f"{self._client.url_of(self._key(request.key))}: writes were refused for {SECONDS_OF_REFUSALS:.0f} s, "
                "each after reading it again; try again once no other process writes it",
                reason="StoreUnavailable",
            )
        return answer

    def _sent(self, request: CreateRecord | UpdateRecord, content: bytes) -> FenceAnswer:
        key, is_probe = self._key(request.key), isinstance(request.body, bytes)
        try:
            if isinstance(request, CreateRecord):
                written = self._client.create(key, content, is_trial=is_probe)
            else:
                written = self._client.update(key, content, request.version, is_trial=is_probe)
        except InvalidInput as error:
            if error.reason == REFUSED and self._accepts_unconditional(request.key):
                problem = "the store refuses a conditional write that it accepts without the condition"
                raise conditional_writes_missing(self.url, problem) from error
            raise
        return WrittenRecord(written) if isinstance(written, ObjectVersion) else _REFUSALS[written]

    def _accepts_unconditional(self, key: str) -> bool:
        """Return whether the store accepts a write without a condition, of an object next to the experiment's owner."""
        trial = self._key(f"{key.partition('/')[0]}/probe-{secrets.token_hex(16)}")
        try:
            self._client.overwrite(trial, b"unconditional")
        except (InvalidInput, TryAgain):
            return False
        with suppress(InvalidInput, TryAgain):
            for _ in self._client.delete([trial]):
                pass
        return True

    def _put(self, key: str, content: bytes) -> ObjectVersion:
        if len(content) <= MOST_SMALL:
            return self._client.overwrite(key, content)
        with tempfile.TemporaryDirectory(prefix="maskrcnn-record-") as folder:
            file = Path(folder, "record")
            file.write_bytes(content)
            for _ in self._client.upload([Upload(key, file, len(content), sha256(content).hexdigest())]):
                pass
        return ObjectVersion()

    def _moved(
        self,
        request: PutFiles | FetchFiles,
        sources: Path | None,
        into: Path | None,
        on_bytes: Callable[[int], None],
    ) -> FenceAnswer:
        if isinstance(request, PutFiles):
            if sources is None:
                raise ValueError("PutFiles needs a sender with sources")
            return self._upload(request, sources, on_bytes)
        if into is None:
            raise ValueError("FetchFiles needs a sender with into")
        return FetchedKeys(fetch_verified(self._client, request.files, into, key_of=self._key, on_bytes=on_bytes))

    def _upload(self, request: PutFiles, sources: Path, on_bytes: Callable[[int], None]) -> UploadedKeys:
        uploads = (
            Upload(
                self._key(file.key),
                sources / refuse_unsafe_path(file.path, file.key),
                file.size,
                file.sha256,
                on_bytes,
            )
            for file in request.files
        )
        for _ in self._client.upload(uploads):
            pass
        return UploadedKeys(frozenset(file.key for file in request.files))

    def _list(self, prefix: str) -> ListedKeys:
        above = f"{self._prefix}/" if self._prefix else ""
        entries: list[ListedKey] = []
        try:
            for info in self._client.list(self._key(prefix.removesuffix("/"))):
                key = info.key.removeprefix(above)
                if len(entries) == MOST_LISTED:
                    return ListedKeys(tuple(entries), complete=False)
                if key.startswith(prefix):
                    entries.append(ListedKey(key, info.modified))
        except KeyUnlistable:
            return ListedKeys(tuple(entries), complete=False)
        return ListedKeys(tuple(entries))

    def _delete(self, keys: Sequence[str]) -> FenceReply:
        forbidden = deleted = 0

        def left() -> Iterator[str]:
            for key in keys:
                if deleted or forbidden < FORBIDDEN_DELETIONS:
                    yield self._key(key)

        for _, outcome in self._client.delete(left()):
            if outcome is WriteOutcome.FORBIDDEN:
                forbidden += 1
            else:
                deleted += 1
        return FenceReply.FORBIDDEN if forbidden else FenceReply.DELETED


@dataclass
class _Series:
    """Refusals of one key in a row."""

    began: float
    last: float


class _Turns:
    """Times of the writes of each record, so that no record is written too often."""

    def __init__(self, clock: Callable[[], float], pause: Callable[[float], None]) -> None:
        self._clock = clock
        self._pause = pause
        self._written: dict[str, float] = {}
        self._refused: dict[str, _Series] = {}

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Wait until a record may be written again, and note the time at which the block ends, also by an error."""
        last = self._written.get(key)
        if last is not None and (seconds := last + SECONDS_BETWEEN_RECORD_WRITES - self._clock()) > 0:
            self._pause(seconds)
        try:
            yield
        finally:
            self._written[key] = self._clock()

    def is_refused_for_long(self, key: str, *, refused: bool) -> bool:
        """Note how a write has ended, and return whether a series of refusals has lasted too long."""
        if not refused:
            self._refused.pop(key, None)
            return False
        now = self._clock()
        series = self._refused.get(key)
        if series is None or now - series.last > SECONDS_OF_REST:
            series = self._refused[key] = _Series(now, now)
        series.last = now
        return now - series.began >= SECONDS_OF_REFUSALS


@contextmanager
def open_fence_store(
    url: ObjectUrl,
    stores: Sequence[ObjectStoreSpec],
    environment: Mapping[str, str],
    *,
    stop: Callable[[], bool] = lambda: False,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[FenceStore]:
    """Open the store of all experiments below a URL; its helper process ends with the block.

    Args:
        url: of all experiments, with one of the schemes of object stores.
        stores: entries without problems; the one with the longest prefix is used.
        environment: of this process.
        stop: returns whether to stop; called at least every 0.2 seconds while a request is under way.
        on_wait: called with the sentence about a failure before a request is sent again.

    Raises:
        InvalidInput: the endpoint isn't allowed, or the storage account is missing.
    """
    with StoreClient(connection_for(url, stores, environment), stop=stop, on_wait=on_wait) as client:
        yield FenceStore(client, url.key)
