"""Atomic writing of files, and reading of plain files without blocking on a pipe."""

from __future__ import annotations

import codecs
import errno
import fcntl
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

LONGEST_NAME = 255
"""Maximum bytes of a file name on Linux (``NAME_MAX``)."""


@contextmanager
def named_in_errors(path: Path, *, temporary: Path | None = None) -> Iterator[None]:
    """Set the path of an OSError raised in the block; the error of a write to an open file has none.

    Args:
        path: the path that the user knows.
        temporary: a file or directory that is replaced by ``path`` in the error, like any file in it.
    """
    try:
        yield
    except OSError as error:
        name = error.filename
        hidden = temporary is not None and isinstance(name, str) and Path(name).is_relative_to(temporary)
        if error.errno not in (None, errno.EEXIST) and (name is None or isinstance(name, int) or hidden):
            error.filename, error.filename2 = str(path), None
        raise


def unfinished(path: Path) -> Path:
    """Return a path next to ``path`` for its content until that is complete.

    The path has a random number instead of the process id, which may be equal in two pods that share a volume. A name
    that would become too long is shortened. Create the file exclusively (mode ``x``), which doesn't follow links.
    """
    rest = f".{secrets.randbelow(10**8)}.partial"
    room = LONGEST_NAME - len(rest) - 1
    name = os.fsencode(path.name)
    kept = path.name if len(name) <= room else name[:room].decode("utf-8", "ignore")
    return path.with_name(f".{kept}{rest}")


def open_unfinished(path: Path) -> tuple[Path, FileIO]:
    """Create the unfinished file of ``path``; return its path and its raw stream, which is locked while it is open.

    The lock shows that the writer is alive (:func:`is_abandoned`). It is left out on a file system without locks.

    Raises:
        OSError: the file cannot be created; the error names ``path``.
    """
    while True:
        aside = unfinished(path)
        with named_in_errors(path, temporary=aside):
            stream = aside.open("x+b", buffering=0)
        try:
            with suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(stream.fileno()).st_nlink:
                return aside, stream
        except BaseException:
            stream.close()
            raise
        stream.close()  # another process deleted the file as abandoned before it was locked


def is_abandoned(path: Path) -> bool:
    """Return whether the writer of an unfinished file is dead; False if that is unknown.

    Raises:
        OSError: the file doesn't exist anymore or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def replacing(path: Path, *, before_rename: Callable[[], None] | None = None) -> Iterator[FileIO]:
    """Yield an unbuffered stream to a file next to ``path``; after the block, sync it and rename it to ``path``.

    If ``path`` is a link, the link is replaced, not its target. If the block raises, the old file is kept.

    Args:
        path: the file, which is replaced if it exists; its directory must exist.
        before_rename: called when all bytes are on the disk; if it raises, the old file is kept.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    aside, stream = open_unfinished(path)
    with named_in_errors(path, temporary=aside), stream:
        try:
            yield stream
            os.fsync(stream.fileno())
            if before_rename is not None:
                before_rename()
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def replace_file(path: Path, payload: bytes, *, before_rename: Callable[[], None] | None = None) -> None:
    """Replace the content of a file, or create it, with the arguments and errors of :func:`replacing`."""
    with replacing(path, before_rename=before_rename) as stream:
        rest = memoryview(payload)
        while rest:
            rest = rest[stream.write(rest) :]


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file for reading, following links; refuse a pipe, which would block.

    Raises:
        OSError: the file cannot be read, is a directory (``EISDIR``), or isn't a plain file (``EINVAL``).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is a pipe, a socket, or a device, not a plain file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path) -> bytes:
    """Return the content of a plain file; see :func:`open_regular`."""
    with open_regular(path) as stream:
        return stream.read()


def read_text(path: Path) -> str:
    """Return the text of a plain UTF-8 file, without a byte order mark and with all line ends as newlines.

    Raises:
        OSError: see :func:`read_regular`.
        UnicodeDecodeError: the file isn't UTF-8.
    """
    return io.TextIOWrapper(io.BytesIO(read_regular(path)), encoding="utf-8-sig").read()


_OTHER_CONTENT = (
    (b"\x1f\x8b", "is compressed (gzip), not text; unpack it"),
    (b"PK\x03\x04", "is an archive (zip), not text; unpack it"),
    (b"BZh", "is compressed (bzip2), not text; unpack it"),
    (b"\xfd7zXZ\x00", "is compressed (xz), not text; unpack it"),
    (b"\x28\xb5\x2f\xfd", "is compressed (zstd), not text; unpack it"),
    (codecs.BOM_UTF32_LE, "is UTF-32 text; save it as UTF-8"),  # before UTF-16, whose mark is a prefix of it
    (codecs.BOM_UTF32_BE, "is UTF-32 text; save it as UTF-8"),
    (codecs.BOM_UTF16_LE, "is UTF-16 text; save it as UTF-8"),
    (codecs.BOM_UTF16_BE, "is UTF-16 text; save it as UTF-8"),
)
"""First bytes of files that aren't UTF-8, and the message for each."""


def decoding_fault(error: UnicodeDecodeError) -> str:
    """Return why the content of a file isn't UTF-8 text and how to fix it, as the end of "FILE ..."."""
    for beginning, fault in _OTHER_CONTENT:
        if error.object.startswith(beginning):
            return fault
    line = error.object.count(b"\n", 0, error.start) + 1
    byte = error.object[error.start]
    return f"is not UTF-8 text: line {line} has the byte 0x{byte:02x}; save the file as UTF-8"


def open_in_place(path: Path, *, append: bool) -> FileIO:
    """Open a file to write in place, unbuffered; create it if it is absent.

    Files at other paths aren't changed: a link isn't followed, and a file with another hard link, such as in a backup,
    is first replaced by a copy.

    Args:
        path: the file.
        append: whether to keep the content, append to it, and allow reading; else the file is emptied.

    Raises:
        OSError: the file cannot be opened, or is a link (``ELOOP``) or a pipe without a reader (``ENXIO``).
    """
    kind = os.O_RDWR | os.O_APPEND if append else os.O_WRONLY
    flags = kind | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    stream = os.fdopen(os.open(path, flags, 0o666), "a+b" if append else "wb", buffering=0)
    try:
        found = os.fstat(stream.fileno())
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            stream.close()
            replace_file(path, path.read_bytes() if append else b"")
            stream = os.fdopen(os.open(path, flags, 0o666), "a+b" if append else "wb", buffering=0)
        if not append and stat.S_ISREG(found.st_mode):
            stream.truncate(0)
    except BaseException:
        stream.close()
        raise
    return stream
