"""Files that are there whole or not at all, and plain files read without waiting for a pipe."""

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
"""Bytes of a file name that Linux and its file systems take (``NAME_MAX``)."""


@contextmanager
def named_in_errors(path: Path, *, temporary: Path | None = None) -> Iterator[None]:
    """Give an OSError the path that is written: a write to an open file names none.

    Args:
        path: as the user knows it.
        temporary: a file or directory whose name, or a name in it, is replaced by ``path``.
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
    """Return a name beside ``path`` for its content until that is whole.

    It is drawn, not the process id: processes of two pods that share a volume have equal ones. Create the file
    exclusively (mode ``x``), which follows no link. A name that leaves no room for the rest is shortened.
    """
    rest = f".{secrets.randbelow(10**8)}.partial"
    room = LONGEST_NAME - len(rest) - 1
    name = os.fsencode(path.name)
    kept = path.name if len(name) <= room else name[:room].decode("utf-8", "ignore")
    return path.with_name(f".{kept}{rest}")


def open_unfinished(path: Path) -> tuple[Path, FileIO]:
    """Make the unfinished file of ``path`` and return its name and its raw stream, locked while that is open.

    The lock says that the writer lives (:func:`is_abandoned`). A file system without locks is used without.

    Raises:
        OSError: it cannot be made; ``path`` is named.
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
        stream.close()  # taken for abandoned and deleted between its making and its lock


def is_abandoned(path: Path) -> bool:
    """Return whether the writer of an unfinished file is dead; False where it cannot be told.

    Raises:
        OSError: the file is gone, or may not be opened.
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
    """Give an unbuffered stream to write beside ``path``; after the block, flush it to the disk and rename it there.

    A link at ``path`` is replaced, and what it leads to stays as it is. A block that raises leaves the old file.

    Args:
        path: replaced when it exists; the directory must exist.
        before_rename: called when all bytes are on the disk; what it raises leaves the old file as it was.

    Raises:
        OSError: it cannot be written; ``path`` is named.
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
    """Replace the content of a file, or make it, with the arguments and errors of :func:`replacing`."""
    with replacing(path, before_rename=before_rename) as stream:
        rest = memoryview(payload)
        while rest:
            rest = rest[stream.write(rest) :]


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file to read it, links followed. A pipe would be waited for.

    Raises:
        OSError: it cannot be read, or is a directory (``EISDIR``) or no plain file (``EINVAL``).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a plain file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path) -> bytes:
    """Return the content of a plain file; see :func:`open_regular`."""
    with open_regular(path) as stream:
        return stream.read()


def read_text(path: Path) -> str:
    """Return the text of a plain file in UTF-8, with or without a byte order mark, and every end of line as a newline.

    Raises:
        OSError: see :func:`read_regular`.
        UnicodeDecodeError: it isn't UTF-8.
    """
    return io.TextIOWrapper(io.BytesIO(read_regular(path)), encoding="utf-8-sig").read()


_OTHER_CONTENT = (
    (b"\x1f\x8b", "is compressed (gzip), not text; unpack it"),
    (b"PK\x03\x04", "is an archive (zip), not text; unpack it"),
    (b"BZh", "is compressed (bzip2), not text; unpack it"),
    (b"\xfd7zXZ\x00", "is compressed (xz), not text; unpack it"),
    (b"\x28\xb5\x2f\xfd", "is compressed (zstd), not text; unpack it"),
    (codecs.BOM_UTF32_LE, "is UTF-32 text; save it as UTF-8"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "is UTF-32 text; save it as UTF-8"),
    (codecs.BOM_UTF16_LE, "is UTF-16 text; save it as UTF-8"),
    (codecs.BOM_UTF16_BE, "is UTF-16 text; save it as UTF-8"),
)
"""Beginnings of files that aren't UTF-8, and the fault of each."""


def decoding_fault(error: UnicodeDecodeError) -> str:
    """Return why the content of a file isn't UTF-8 text and what would be right, as the end of "FILE ..."."""
    for beginning, fault in _OTHER_CONTENT:
        if error.object.startswith(beginning):
            return fault
    line = error.object.count(b"\n", 0, error.start) + 1
    byte = error.object[error.start]
    return f"is not UTF-8 text: line {line} has the byte 0x{byte:02x}; save the file as UTF-8"


def open_in_place(path: Path, *, append: bool) -> FileIO:
    """Open a file that is not replaced as a whole, unbuffered, and make it where it is absent.

    Nothing is written to a file elsewhere: a link is not followed, and a file with a second name (a hard link, such as
    in a backup) is replaced by a copy first.

    Args:
        append: keep the content, write behind it and let it be read; else the file is emptied.

    Raises:
        OSError: it cannot be opened, or is a link (``ELOOP``) or a pipe that nothing reads (``ENXIO``).
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
