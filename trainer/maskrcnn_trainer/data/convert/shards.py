"""A set of shards written aside and moved into place as a whole."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from maskrcnn_trainer.data.convert.interruption import signals_put_off
from maskrcnn_trainer.data.records import SHARD, shard_name
from maskrcnn_trainer.errors import WorkspaceFull
from maskrcnn_trainer.launch.ours import is_temporary

log = logging.getLogger(__name__)

_KEPT_OPEN = 256  # files at once; beyond, a shard is opened for each record
_LOCK = "lock"

Warnings = dict[str, dict[str, list[int]]]


class StagedShards:
    """All shards of one conversion, in a hidden folder beside their place until :meth:`publish`.

    Used as a context: whatever ends it, the hidden folder is removed. Folders that killed runs left are removed at the
    start; one that a living process holds is not.

    Args:
        output_dir: where the set belongs, an existing directory.
        tag: prefix of the file names.
        num_shards: files of the set, empty ones included.
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
        self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self._output_dir))
        self._lock = (self._folder / _LOCK).open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            log.debug("%s: no file locks here; folders of killed runs stay", self._output_dir)
        try:
            for shard in range(self._num_shards):
                if self._num_shards <= _KEPT_OPEN:
                    self._files.append(self._path(shard).open("wb"))
                else:
                    self._path(shard).touch()
        except OSError as error:
            self._close()
            raise _full_or(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with signals_put_off():
            self._close()

    def write(self, number: int, record: bytes) -> None:
        """Appends the framed record of image `number` (from 0) to its shard, `number` modulo the shards.

        Raises:
            WorkspaceFull: no space is left.
        """
        shard = number % self._num_shards
        try:
            if self._files:
                self._files[shard].write(record)
            else:
                with self._path(shard).open("ab") as file:
                    file.write(record)
        except OSError as error:
            raise _full_or(error) from error

    def publish(self, warnings: Warnings, before_publish: Callable[[], None] | None = None) -> list[Path]:
        """Puts the set in the place of any older one of the same tag, with any number of shards.

        The old set goes first, so a machine that dies in between leaves a set that is incomplete by name, which readers
        refuse, never a mixture.

        Args:
            warnings: content of ``<tag>_warnings.json``; empty: no such file.
            before_publish: called once everything is written, before the first change; may raise.

        Returns:
            The files now in place, shards first.

        Raises:
            WorkspaceFull: no space is left.
        """
        report = self._folder / f"{self._tag}_warnings.json"
        try:
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
                file.close()
            if not self._files:
                for shard in range(self._num_shards):
                    _sync(self._path(shard))
            if warnings:
                report.write_text(json.dumps(warnings), encoding="utf-8")
                _sync(report)
        except OSError as error:
            raise _full_or(error) from error
        if before_publish is not None:
            before_publish()
        with signals_put_off():
            for old in self._older_set():
                old.unlink()
            (self._output_dir / report.name).unlink(missing_ok=True)
            names = [shard_name(self._tag, shard, self._num_shards) for shard in range(self._num_shards)]
            names += [report.name] if warnings else []
            for name in names:
                (self._folder / name).rename(self._output_dir / name)
            _sync(self._output_dir)
        return [self._output_dir / name for name in names]

    def _older_set(self) -> list[Path]:
        found = []
        for path in self._output_dir.iterdir():
            match = SHARD.fullmatch(path.name)
            if match and match["tag"] == self._tag and match["suffix"] == ".tfrecord":
                found.append(path)
        return found

    def _path(self, shard: int) -> Path:
        return self._folder / shard_name(self._tag, shard, self._num_shards)

    def _close(self) -> None:
        for file in self._files:
            try:
                file.close()
            except OSError:
                log.debug("closing %s failed; it is removed", file.name)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def _remove_if_abandoned(folder: Path) -> None:
    """Removes a hidden folder unless a living process holds its lock (a lock ends with its process).

    One with a file in it that no conversion writes is left alone.
    """
    if folder.is_symlink() or not all(is_temporary(f"{folder.name}/{file.name}") for file in _files_in(folder)):
        return
    try:
        with (folder / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
    log.info("removed what an interrupted conversion left: %s", folder)


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


def _full_or(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkspaceFull(f"no space is left to write TFRecords: {error}")
    return error
