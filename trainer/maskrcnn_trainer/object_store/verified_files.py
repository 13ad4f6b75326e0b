"""Loading of published files into a directory, without following links, and with verification of size and SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from io import FileIO
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import PART_BYTES, ObjectInfo, Part, StoreClient
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.fence.explaining import remedy_of_results
from maskrcnn_trainer.object_store.fence.records import PublishedFile
from maskrcnn_trainer.object_store.fence.untrusted import refuse_unsafe_path
from maskrcnn_trainer.shared.files import named_in_errors, open_unfinished


class _Loaded(Enum):
    WHOLE = auto()
    ABSENT = auto()
    OTHER_BYTES = auto()


def fetch_verified(
    client: StoreClient,
    files: Sequence[PublishedFile],
    into: Path,
    *,
    key_of: Callable[[str], str],
    on_bytes: Callable[[int], None] = lambda _: None,
) -> frozenset[str]:
    """Write published files to a directory, and return the keys of those that exist.

    A file is written under a temporary name in ``into``, verified, synced, and renamed. Directories are made; a link in
    the place of one is refused, and one in the place of a file is replaced. A file with other bytes than its record
    states is loaded again once.

    Args:
        client: of the store.
        files: whose paths are checked here again.
        into: existing directory.
        key_of: returns the whole key of a file's key.
        on_bytes: called with the number of further bytes that were received.

    Raises:
        InvalidInput: a path is unsafe, or an object hasn't the bytes that its record states (64).
        OSError: of the directory or a file in it.
    """
    for file in files:
        refuse_unsafe_path(file.path, file.key)
    loaded: dict[PublishedFile, _Loaded] = {}
    with _Directory(into) as directory:
        for _ in range(2):
            missing = [file for file in files if loaded.get(file, _Loaded.OTHER_BYTES) is _Loaded.OTHER_BYTES]
            loaded.update(_Round(client, missing, directory, key_of, on_bytes).run())
    for file, result in loaded.items():
        if result is _Loaded.OTHER_BYTES:
            raise InvalidInput(
                f"{client.url_of(key_of(file.key))}: the object hasn't the {file.size} bytes and the SHA-256 of "
                f"{file.path} in its manifest; restore it, or {remedy_of_results(file.key)}",
                reason="InvalidData",
            )
    return frozenset(file.key for file, result in loaded.items() if result is _Loaded.WHOLE)


class _Directory:
    """Directory to which files are written, open so that no part of a path below it is a link."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Directory:
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def rename(self, aside: str, path: str) -> None:
        """Rename a file of this directory to a relative path below it."""
        folders, _, name = path.rpartition("/")
        try:
            with self._opened(folders) as descriptor:
                os.rename(aside, name, src_dir_fd=self._descriptor, dst_dir_fd=descriptor)
        except OSError as error:
            # it has the name of one directory, or the temporary one
            error.filename, error.filename2 = str(self.path / path), None
            raise

    @contextmanager
    def _opened(self, folders: str) -> Iterator[int]:
        with ExitStack() as stack:
            descriptor = self._descriptor
            for name in filter(None, folders.split("/")):
                descriptor = _subdirectory(descriptor, name)
                stack.callback(os.close, descriptor)
            yield descriptor


def _subdirectory(parent: int, name: str) -> int:
    """Return an open directory, which is made if it is absent; a link is refused."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, dir_fd=parent)
        return os.open(name, flags, dir_fd=parent)


@dataclass
class _Loading:
    """File while it is loaded.

    Attributes:
        file: its record.
        aside: its temporary path.
        stream: to the temporary file, which is locked while it is open.
        parts: number of parts that are requested and not received.
        requested: whether no further part will be requested.
        result: how the loading ended; None: it didn't fail so far.
    """

    file: PublishedFile
    aside: Path
    stream: FileIO
    parts: int = 0
    requested: bool = False
    result: _Loaded | None = None


@dataclass
class _Round:
    """One loading of several files."""

    client: StoreClient
    files: Sequence[PublishedFile]
    directory: _Directory
    key_of: Callable[[str], str]
    on_bytes: Callable[[int], None]
    loading: dict[Path, _Loading] = field(default_factory=dict)
    ended: dict[PublishedFile, _Loaded] = field(default_factory=dict)

    def run(self) -> dict[PublishedFile, _Loaded]:
        """Return each file with the end of its loading."""
        received = self.client.fetch(self._parts(), on_bytes=lambda _part, start, end: self.on_bytes(end - start))
        try:
            for part, outcome in received:
                one = self.loading[part.path]
                one.parts -= 1
                if outcome is not ReadOutcome.DONE:
                    one.result = _Loaded.ABSENT if outcome is ReadOutcome.ABSENT else _Loaded.OTHER_BYTES
                    one.requested = True
                self._end_if_received(one)
        finally:
            received.close()
            for one in list(self.loading.values()):
                self._forget(one)
        return self.ended

    def _parts(self) -> Iterator[Part]:
        """Yield parts as they are needed: the size that a record states isn't checked before the first answer."""
        for file in self.files:
            aside, stream = open_unfinished(self.directory.path / file.path.rpartition("/")[2])
            one = self.loading[aside] = _Loading(file, aside, stream)
            info = ObjectInfo(self.key_of(file.key), file.size, "")
            for start in range(0, file.size, PART_BYTES):
                if one.result is not None:
                    break
                one.parts += 1
                one.requested = start + PART_BYTES >= file.size
                yield Part(info, aside, start, min(start + PART_BYTES, file.size))
            one.requested = True
            self._end_if_received(one)

    def _end_if_received(self, one: _Loading) -> None:
        """Verify a file of which all is received, and give it its name."""
        if one.parts or not one.requested or one.aside not in self.loading:
            return
        if one.result is None:
            one.result = self._verified(one)
        self.ended[one.file] = one.result
        self._forget(one)

    def _verified(self, one: _Loading) -> _Loaded:
        with named_in_errors(self.directory.path / one.file.path, temporary=one.aside):
            one.stream.seek(0)
            if hashlib.file_digest(one.stream, "sha256").hexdigest() != one.file.sha256:
                return _Loaded.OTHER_BYTES
            os.fsync(one.stream.fileno())
        self.directory.rename(one.aside.name, one.file.path)
        return _Loaded.WHOLE

    def _forget(self, one: _Loading) -> None:
        del self.loading[one.aside]
        one.stream.close()
        one.aside.unlink(missing_ok=True)
