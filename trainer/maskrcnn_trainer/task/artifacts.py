"""Artifacts of a task (files, directories, and sets of files) with their sizes and hashes, and result.json."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import EXIT_OK
from maskrcnn_trainer.shared.fingerprints import fingerprints_in
from maskrcnn_trainer.shared.messages import (
    RESULT_FILE,
    STATUS_FILE,
    TERMINATION_FILE,
    ArtifactKey,
    ResultKey,
    StatusKey,
)
from maskrcnn_trainer.task.workspace import real_path

PathLike = str | os.PathLike[str]


def artifact_files(path: PathLike) -> list[Path]:
    """Return the files of an artifact, sorted: one file, all files below a directory, or the matches of a pattern.

    Raises:
        FileNotFoundError: there are none.
    """
    root = real_path(os.fspath(path))
    if root.is_file():
        return [root]
    if root.is_dir():
        return sorted(file for file in root.rglob("*") if file.is_file())
    found = sorted(root.parent.glob(root.name))
    if not found:
        raise FileNotFoundError(errno.ENOENT, "no artifact", os.fspath(path))
    return found


def artifact_bytes(path: PathLike) -> int:
    """Return the size in bytes of an artifact (a file, a directory, or a pattern; see ``artifact_files``)."""
    return sum(file.stat().st_size for file in artifact_files(path))


def artifact_sha256(path: PathLike) -> str:
    """Return the SHA-256, as hex, of a file, or of the lines that sha256sum prints for several files.

    Paths in those lines are relative to the directory.
    """
    root = real_path(os.fspath(path))
    files = artifact_files(path)
    with ThreadPoolExecutor(max_workers=min(4, len(files) or 1)) as pool:
        digests = list(pool.map(file_sha256, files))
    if root.is_file():
        return digests[0]
    base = root if root.is_dir() else root.parent
    lines = (f"{digest}  {file.relative_to(base).as_posix()}\n" for digest, file in zip(digests, files, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of one file as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_foreign_result(file: Path) -> bool:
    """Return whether ``result.json`` was written by another program, or is a link or a pipe, which no task creates.

    A file of a task may be empty or truncated.
    """
    if os.path.lexists(file) and (file.is_symlink() or not file.is_file()):
        return True
    try:
        content = file.read_bytes() if file.is_file() else b""
    except OSError:
        return False
    if not content.strip(b"\0 \n"):
        return False
    try:
        result = json.loads(content)
    except (ValueError, RecursionError):
        return not content.startswith(f'{{\n  "{ResultKey.VERSION}": '.encode())
    return not (isinstance(result, dict) and {ResultKey.TASK, ResultKey.CODE} <= result.keys())


_REPORT_BEGINNINGS = {
    STATUS_FILE: re.compile(rf'\s*\{{\s*"{StatusKey.DATE}"\s*:'.encode()),
    TERMINATION_FILE: re.compile(rf'\s*\{{\s*"{ResultKey.VERSION}"\s*:\s*\d+\s*,\s*"{ResultKey.TASK}"\s*:'.encode()),
}
_BEGINNING_BYTES = 200


def is_foreign_report(file: Path) -> bool:
    """Return whether ``status.json`` or ``termination.json`` was written by another program, or is a link or a pipe.

    A file of a task may be empty or truncated.
    """
    if os.path.lexists(file) and (file.is_symlink() or not file.is_file()):
        return True
    try:
        with file.open("rb") as stream:
            beginning = stream.read(_BEGINNING_BYTES)
    except OSError:
        return False
    return bool(beginning.strip(b"\0 \n")) and _REPORT_BEGINNINGS[file.name].match(beginning) is None


def read_result(results_dir: PathLike, *fingerprints: str) -> dict[str, Any] | None:
    """Return the result in ``results_dir`` if it has one of the fingerprints and its artifacts are complete, else None.

    An artifact is complete if its files have the recorded size.
    """
    file = Path(results_dir) / RESULT_FILE
    try:
        if not file.is_file():  # reading a pipe would block
            return None
        result = json.loads(file.read_text(encoding="utf-8"))
        if result.get(ResultKey.CODE) != EXIT_OK or set(fingerprints).isdisjoint(fingerprints_in(result)):
            return None
        sizes = (
            (artifact[ArtifactKey.PATH], artifact[ArtifactKey.BYTES])
            for artifact in result[ResultKey.ARTIFACTS].values()
        )
        return result if all(artifact_bytes(path) == size for path, size in sizes) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
