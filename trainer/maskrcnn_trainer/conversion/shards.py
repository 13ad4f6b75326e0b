"""Set of shards that is written to a temporary folder and then moved into place."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from maskrcnn_trainer.conversion.interruption import signals_put_off
from maskrcnn_trainer.data.records import HEADER_BYTES, is_record_header
from maskrcnn_trainer.data.shard_names import SHARD, shard_name
from maskrcnn_trainer.errors import InvalidInput, as_task_error
from maskrcnn_trainer.results.ours import is_temporary
from maskrcnn_trainer.shared.files import named_in_errors
from maskrcnn_trainer.spec.task_table import WARNINGS_SUFFIX

log = logging.getLogger(__name__)

_KEPT_OPEN = 256  # files; if a set has more, a shard is opened for each record
_LOCK = "lock"
_KEY = b"image/source_id"
"""Feature that every record of a conversion has."""

Warnings = dict[str, dict[str, Any]]
"""By image id: ``box`` and ``mask``, lists of annotation ids; ``image``, why the image was left out."""


class StagedShards:
    """Shards of one conversion, in a hidden folder of the output directory until :meth:`publish`.

    It is a context manager that always removes the hidden folder at its end. At its start it removes the folders of
    killed runs, but not those of running processes.

    Args:
        output_dir: target of the set, an existing directory.
        tag: prefix of the file names.
        num_shards: number of files, including empty ones.
    """

    def __init__(self, output_dir: Path, tag: str, num_shards: int) -> None:
        self._output_dir = output_dir
        self._tag = tag
        self._num_shards = num_shards
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> StagedShards:
        prefix = f".{self._tag}.convert-"
        for left in self._output_dir.glob(f"{prefix}*"):
            _remove_if_abandoned(left)
        with named_in_errors(self._output_dir, temporary=self._output_dir):
            self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self._output_dir))
        self._lock = (self._folder / _LOCK).open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.debug("%s: file locks are not supported; folders of killed runs are not removed", self._output_dir)
        try:
            for shard in range(self._num_shards):
                with self._named(shard):
                    if self._num_shards <= _KEPT_OPEN:
                        self._files.append(self._path(shard).open("wb"))
                    else:
                        self._path(shard).touch()
        except OSError as error:
            self._close()
            raise (as_task_error(error) or error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with signals_put_off():
            self._close()

    def write(self, number: int, record: bytes) -> None:
        """Append a record to its shard, which is `number` modulo the number of shards.

        Args:
            number: of the image, from 0.
            record: framed TFRecord.

        Raises:
            WorkspaceFull: there is no space left.
        """
        shard = number % self._num_shards
        try:
            with self._named(shard):
                if self._files:
                    self._files[shard].write(record)
                else:
                    with self._path(shard).open("ab") as file:
                        file.write(record)
        except OSError as error:
            raise (as_task_error(error) or error) from error

    def publish(self, warnings: Warnings, before_publish: Callable[[], None] | None = None) -> list[Path]:
        """Move the set into place; it replaces an older set with the same tag and any number of shards.

        The older set is deleted first. A crash in between leaves an incomplete set, which readers refuse because shards
        are missing, and never a mixture of two sets.

        Args:
            warnings: content of ``<tag>_warnings.json``; if empty, the file is not written.
            before_publish: called when all files are written, before the first is moved or deleted; may raise.

        Returns:
            The files now in place, shards first.

        Raises:
            InvalidInput: a file that no conversion has written has the name of a file of the set.
            WorkspaceFull: there is no space left.
        """
        report = self._folder / f"{self._tag}{WARNINGS_SUFFIX}"
        try:
            for shard in range(self._num_shards):
                with self._named(shard):
                    if self._files:
                        file = self._files[shard]
                        file.flush()
                        os.fsync(file.fileno())
                        file.close()
                    else:
                        _sync(self._path(shard))
            if warnings:
                with named_in_errors(self._output_dir / report.name, temporary=self._folder):
                    report.write_text(json.dumps(warnings), encoding="utf-8")
                    _sync(report)
        except OSError as error:
            raise (as_task_error(error) or error) from error
        if before_publish is not None:
            before_publish()
        older = older_set(self._output_dir, self._tag)
        with signals_put_off():
            for old in older:
                old.unlink(missing_ok=True)
            names = [shard_name(self._tag, shard, self._num_shards) for shard in range(self._num_shards)]
            names += [report.name] if warnings else []
            for name in names:
                (self._folder / name).rename(self._output_dir / name)
            _sync(self._output_dir)
        return [self._output_dir / name for name in names]

    def _named(self, shard: int) -> AbstractContextManager[None]:
        """In errors about the temporary file of a shard, name its final path."""
        path = self._output_dir / shard_name(self._tag, shard, self._num_shards)
        return named_in_errors(path, temporary=self._folder)

    def _path(self, shard: int) -> Path:
        return self._folder / shard_name(self._tag, shard, self._num_shards)

    def _close(self) -> None:
        for file in self._files:
            try:
                file.close()
            except OSError:
                log.debug("closing %s failed; the file will be removed", file.name)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def older_set(output_dir: Path, tag: str) -> list[Path]:
    """Return the files with a tag that a conversion replaces: shards of sets of any size, and the warnings.

    Raises:
        InvalidInput: one of them was not written by a conversion and would be lost.
    """
    found = []
    for path in sorted(output_dir.iterdir()):
        match = SHARD.fullmatch(path.name)
        is_shard = match is not None and match["tag"] == tag and match["suffix"] == ".tfrecord"
        if not is_shard and path.name != f"{tag}{WARNINGS_SUFFIX}":
            continue
        if not (_is_plain(path) and (_is_shard(path) if is_shard else _is_report(path))):
            raise InvalidInput(
                f"{path} was not written by a conversion and would be replaced: move it elsewhere, or give another "
                "--tag or --output_dir",
                reason="ForeignFiles",
            )
        found.append(path)
    return found


def _is_shard(path: Path) -> bool:
    """Return whether a file begins with a record of a conversion, is empty, or holds zeros only, as after a crash."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
            if not header.strip(b"\0"):
                return True
            # A record is a serialized example with the keys of this project, which are those of TAO Toolkit.
            size = min(int.from_bytes(header[:8], "little"), path.stat().st_size)
            return is_record_header(header) and _KEY in file.read(size)
    except OSError:
        return False


def _is_report(path: Path) -> bool:
    """Return whether a file holds warnings of a conversion, or nothing."""
    try:
        content = path.read_bytes()
        warnings = json.loads(content) if content.strip(b"\0") else {}
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(warnings, dict) and all(
        isinstance(lists, dict) and lists.keys() - {"image"} == {"box", "mask"} for lists in warnings.values()
    )


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a hidden folder unless a running process holds its lock, which ends with the process.

    A folder that contains a link, or a file that no conversion writes, is kept.
    """
    files = [] if folder.is_symlink() else _files_in(folder)
    if not all(_is_plain(file) and is_temporary(f"{folder.name}/{file.name}") for file in files):
        return
    try:
        lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for file in [*files, folder / _LOCK]:
            file.unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        return
    finally:
        os.close(lock)
    log.info("Removed the folder of an interrupted conversion: %s", folder)


def _is_plain(path: Path) -> bool:
    return not path.is_symlink() and path.is_file()


def _files_in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
