"""Directory of this machine to which files from a store are moved: never outside it, and never through a link."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.object_store.fence.records import PublishedFile

UNFINISHED_FILES = ".maskrcnn-partial"
"""Directory for files until all of them are loaded."""
_PARTS = ".parts"
_CHUNK = 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalTree:
    """Directory that receives files, used by one process at a time.

    Args:
        root: existing directory, as the user gave it; it may be a link.

    Raises on entering:
        InvalidInput: ``UNFINISHED_FILES`` in it isn't a directory.
        TryAgain: another process loads files to it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            self._root = _opened(opened, self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with contextlib.suppress(FileExistsError):
                os.mkdir(UNFINISHED_FILES, 0o700, dir_fd=self._root)
            try:
                self._partial = _opened(opened, UNFINISHED_FILES, _DIRECTORY, self._root)
            except OSError as error:
                raise InvalidInput(f"{self.partial}: must be a directory; move it ({error.strerror})") from None
            try:
                fcntl.flock(self._partial, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TryAgain(f"{self.root}: another command is loading files to it") from None
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def partial(self) -> Path:
        """Return the directory for files that aren't moved to their places yet."""
        return self.root / UNFINISHED_FILES

    def keep(self, names: Collection[str]) -> None:
        """Remove all unfinished files but some, such as those of a set that was replaced."""
        with os.scandir(self._partial) as entries:
            for entry in entries:
                if entry.name.removesuffix(_PARTS) in names:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.name, dir_fd=self._partial)
                else:
                    os.unlink(entry.name, dir_fd=self._partial)

    def parts(self, name: str) -> Path:
        """Return the folder for the parts of an unfinished file."""
        return self.partial / f"{name}{_PARTS}"

    def complete(self, name: str, loaded: Path) -> None:
        """Make a file in the folder for its parts a whole one."""
        os.rename(loaded, name, dst_dir_fd=self._partial)
        shutil.rmtree(f"{name}{_PARTS}", dir_fd=self._partial)

    def has_partial(self, name: str, file: PublishedFile) -> bool:
        """Return whether the whole content of a file is in the directory for unfinished files."""
        with contextlib.suppress(FileNotFoundError):
            if _is_content(self._partial, name, file):
                return True
            os.unlink(name, dir_fd=self._partial)
        return False

    def has(self, path: str, file: PublishedFile) -> bool:
        """Return whether a place has the content of a file.

        Args:
            path: relative path of the place, whose parts are safe.
            file: size and SHA-256.

        Raises:
            InvalidInput: the place, or a directory above it, is a link or something else that isn't replaced.
        """
        with contextlib.ExitStack() as opened:
            try:
                return _is_content(self._parent(opened, path, create=False), path.rpartition("/")[2], file)
            except FileNotFoundError:
                return False

    def exists(self, path: str) -> bool:
        """Return whether a place is taken by a file."""
        with contextlib.ExitStack() as opened:
            try:
                parent = self._parent(opened, path, create=False)
                os.stat(path.rpartition("/")[2], dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return False
            return True

    def place(self, name: str, path: str) -> None:
        """Move an unfinished file to its place, and replace a file there.

        Raises:
            InvalidInput: a directory above it is a link or a file.
        """
        with contextlib.ExitStack() as opened:
            parent = self._parent(opened, path, create=True)
            last = path.rpartition("/")[2]
            try:
                os.rename(name, last, src_dir_fd=self._partial, dst_dir_fd=parent)
            except IsADirectoryError:
                raise InvalidInput(f"{self.root / path}: is a directory; move it, or give another -o") from None

    def clear(self) -> None:
        """Remove the directory for unfinished files, with all files in it."""
        shutil.rmtree(UNFINISHED_FILES, dir_fd=self._root)

    def _parent(self, opened: contextlib.ExitStack, path: str, *, create: bool) -> int:
        """Return the descriptor of the directory of a place."""
        current = self._root
        parts = path.split("/")[:-1]
        for depth, part in enumerate(parts, 1):
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=current)
            try:
                current = _opened(opened, part, _DIRECTORY, current)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                above = self.root.joinpath(*parts[:depth])
                raise InvalidInput(f"{above}: must be a directory, not a link or a file; move it") from None
        return current


def _opened(stack: contextlib.ExitStack, path: str | Path, flags: int, parent: int | None = None) -> int:
    descriptor = os.open(path, flags, dir_fd=parent)
    stack.callback(os.close, descriptor)
    return descriptor


def _is_content(parent: int, name: str, file: PublishedFile) -> bool:
    """Return whether a directory has a plain file with the content of a published one.

    Raises:
        FileNotFoundError: there is nothing of this name.
        InvalidInput: it isn't a plain file.
    """
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput(f"{name}: exists and isn't a plain file; move it, or give another -o")
    if found.st_size != file.size:
        return False
    digest = hashlib.sha256()
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    with os.fdopen(descriptor, "rb") as stream:
        for chunk in _chunks(stream.fileno()):
            digest.update(chunk)
    return digest.hexdigest() == file.sha256


def _chunks(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, _CHUNK):
        yield chunk
