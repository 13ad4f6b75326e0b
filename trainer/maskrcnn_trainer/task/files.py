"""Directories, files, and JSON files of a task, with errors that end the task."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import NO_SPACE, InvalidInput, WorkspaceFull
from maskrcnn_trainer.shared.files import replace_file

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
"""Exceptions of ``zipfile`` and of a JSON reader for damaged bytes.

A changed bit may indicate encryption (RuntimeError), another compression, or a newer format (NotImplementedError, which
is a RuntimeError, as RecursionError is), or a position before the start of the file (ValueError).
"""


def stored_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a member of an archive whose members are all stored uncompressed.

    A compressed member can be a thousand times as long as its file, so it is refused before it is inflated.

    Raises:
        zipfile.BadZipFile: the member occurs twice, is compressed, longer than the archive, or damaged.
        KeyError: the archive has no such member.
    """
    info = archive.getinfo(name)
    if archive.namelist().count(name) > 1:
        raise zipfile.BadZipFile(f"{name} occurs more than once; a model file has every member once")
    if info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{name} is compressed; a model file stores its members uncompressed")
    if archive.fp is None or info.file_size > archive.fp.seek(0, os.SEEK_END):
        raise zipfile.BadZipFile(f"{name} should have {info.file_size} bytes, more than the whole file has")
    return archive.read(info)


def make_directory(path: Path, *, flag: str = "") -> Path:
    """Create a directory to write to, and its parents, and return it.

    Args:
        path: the directory.
        flag: the flag that names it, for messages.

    Raises:
        InvalidInput: a file is in the way, or the directory cannot be created or written to.
        WorkspaceFull: no space or quota is left.
    """
    name = f"{flag} {path}".strip()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise WorkspaceFull(f"{name}: no space left for a directory: {error.strerror}") from error
        raise InvalidInput(
            f"{name}: the directory cannot be created ({error.strerror}); give a directory that is writable"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput(f"{name}: the directory is not writable; give another one, or change its permissions")
    return path


def directory_fault(path: Path) -> str:
    """Return why a path isn't a directory, as the end of "path: ..."; empty if it is one."""
    if path.is_dir():
        return ""
    return "is a file, not a directory" if path.exists() else "there is no such directory"


def write_atomically(path: Path, payload: bytes, *, before_rename: Callable[[], None] | None = None) -> None:
    """Write a file as :func:`replace_file` does.

    Raises:
        WorkspaceFull: no space or quota is left.
    """
    try:
        replace_file(path, payload, before_rename=before_rename)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise WorkspaceFull(f"{path}: no space left for {len(payload)} bytes: {error.strerror}") from error
        raise


def write_json_atomically(path: str | os.PathLike[str], content: Any, *, indent: int | None = None) -> None:
    """Write a value as JSON as :func:`write_atomically` does, with a newline at its end.

    Raises:
        WorkspaceFull: no space or quota is left.
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(content, indent=indent, allow_nan=False) + "\n"
    write_atomically(Path(path), text.encode())


def compact_json(content: Any) -> bytes:
    """Return a value as JSON in UTF-8 without spaces; bytes of file names that aren't text become question marks.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")
