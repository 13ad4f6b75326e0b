"""Directory of cached objects, which processes of several nodes share.

    objects/<2 digits>/<name>         whole objects; a process that has one staged has a hard link to it
    owners/<owner>/partial/<name>     an object that this process loads
    owners/<owner>/staged/...         directories that its task sees

Everything is decided by links and renames, which are atomic on NFS, too. An object is complete once it is below
``objects``, because it is renamed to there after its last byte. Two processes that load the same object at once do so
twice; the content is equal, so either rename is right.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from maskrcnn_trainer.object_store.cache_names import is_cached_name
from maskrcnn_trainer.object_store.cache_owner import OWNERS, CacheOwner, file_system_time, is_dead
from maskrcnn_trainer.object_store.eviction import CachedObject
from maskrcnn_trainer.object_store.loading_record import record_of

_OBJECTS, _PARTIAL, _STAGED = "objects", "partial", "staged"


class ObjectCache:
    """Cache of objects, used by one process.

    Args:
        root: directory of the cache.
        owner: this process, alive.
    """

    def __init__(self, root: Path, owner: CacheOwner) -> None:
        self.root = root
        self._owner = owner
        (root / _OBJECTS).mkdir(parents=True, exist_ok=True)
        (owner.directory / _PARTIAL).mkdir(exist_ok=True)

    def objects(self) -> Iterator[CachedObject]:
        """Yield all whole objects; files of other names are left out."""
        for folder in sorted((self.root / _OBJECTS).iterdir()):
            if not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                try:
                    found = path.lstat()
                except FileNotFoundError:  # removed by another process
                    continue
                if is_cached_name(path.name):
                    yield CachedObject(path.name, found.st_size, found.st_mtime, is_staged=found.st_nlink > 1)

    def partial(self, name: str) -> Path:
        """Return the file to which this process writes an object, with what a dead process has left of it."""
        path = self._owner.directory / _PARTIAL / name
        if not path.exists():
            self._adopt(name, path)
        return path

    def complete(self, name: str) -> None:
        """Make the object that `partial` holds a whole one; its bytes are on the disk then."""
        partial, whole = self._owner.directory / _PARTIAL / name, self._whole(name)
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.chmod(0o444)
        whole.parent.mkdir(exist_ok=True)
        partial.rename(whole)
        record_of(partial).unlink(missing_ok=True)

    def stage(self, name: str, place: Path) -> bool:
        """Link a whole object to a place below `staged`, and count it as used now.

        Args:
            name: of the object.
            place: path that does not exist; its directories are made.

        Returns:
            False if the object isn't there (any more): load it.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        whole = self._whole(name)
        try:
            place.hardlink_to(whole)
            os.utime(whole)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            return False
        return True

    def staged(self, number: int) -> Path:
        """Return the directory for a path or URL of the task, by its number."""
        return self._owner.directory / _STAGED / str(number)

    def remove(self, name: str) -> bool:
        """Remove a whole object unless a process has it staged; return whether it was removed.

        It is renamed into this process's directory first: a process that stages it at the same time either has its
        link before that, which shows, or doesn't find it.
        """
        whole, aside = self._whole(name), self._owner.directory / f"removed-{name}"
        try:
            whole.rename(aside)
        except FileNotFoundError:
            return False
        if aside.lstat().st_nlink > 1:
            with contextlib.suppress(FileExistsError):  # loaded again in the meantime
                whole.hardlink_to(aside)
            aside.unlink()
            return False
        aside.unlink()
        return True

    def _whole(self, name: str) -> Path:
        return self.root / _OBJECTS / name[:2] / name

    def _adopt(self, name: str, path: Path) -> None:
        """Move the file of a dead process that has loaded part of an object to ``path``."""
        for other in sorted((self.root / OWNERS).iterdir()):
            left = other / _PARTIAL / name
            if other.name == self._owner.name or not left.is_file() or left.is_symlink():
                continue
            if is_dead(self.root, other.name, now=file_system_time(self._owner)):
                # the record first: without its file it is no more than a record of nothing
                with contextlib.suppress(FileNotFoundError):
                    record_of(left).rename(record_of(path))
                try:
                    left.rename(path)
                except FileNotFoundError:  # another process was faster
                    record_of(path).unlink(missing_ok=True)
                    continue
                return
