"""Directory of cached objects, which processes of several nodes share.

    objects/<2 digits>/<name>         whole objects; a process that has one staged has a hard link to it
    loading/<name>                    claim of the process that loads an object: a link to its file ``claim``
    partial/<name>/                   what a process that has ended has loaded of an object of several parts
    owners/<owner>/partial/<name>     an object that this process loads, or for several parts the directory of it
    owners/<owner>/staged/...         directories that its task sees

Everything is decided by links and renames, which are atomic on NFS, too. An object is complete once it is below
``objects``, because it is renamed to there after its last byte. Claims keep processes from loading the same object at
once. A right result doesn't need them: if two processes load one, the content is equal, and either rename is right.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from maskrcnn_trainer.object_store.loading_record import DATA, recorded_bytes
from maskrcnn_trainer.staging.cache_names import is_cached_name
from maskrcnn_trainer.staging.cache_owner import (
    CLAIM_FILE,
    LOADING_DIR,
    OWNERS_DIR,
    PARTIAL_DIR,
    CacheOwner,
    file_system_time,
    is_dead,
    is_owner_name,
    keep_partial,
)
from maskrcnn_trainer.staging.eviction import CachedObject

_OBJECTS, _STAGED = "objects", "staged"


class ObjectCache:
    """Cache of objects, used by one process.

    Args:
        root: directory of the cache.
        owner: this process, alive.
    """

    def __init__(self, root: Path, owner: CacheOwner) -> None:
        self.root = root
        self._owner = owner
        # joined once: for many small objects, the joining of paths is a visible share of the time
        self._objects, self._loading, self._left = (root / name for name in (_OBJECTS, LOADING_DIR, PARTIAL_DIR))
        for directory in (self._objects, self._loading, self._left):
            directory.mkdir(parents=True, exist_ok=True)
        self._partial = owner.directory / PARTIAL_DIR
        self._partial.mkdir(exist_ok=True)
        self._claim = owner.directory / CLAIM_FILE
        self._claim.write_text(owner.name, encoding="ascii")

    @property
    def owner_directory(self) -> Path:
        """Return the directory of this process, which is removed at its end."""
        return self._owner.directory

    def objects(self) -> Iterator[CachedObject]:
        """Yield all whole objects; files of other names are left out."""
        for folder in sorted(self._objects.iterdir()):
            if not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                try:
                    found = path.lstat()
                except FileNotFoundError:  # removed by another process
                    continue
                if is_cached_name(path.name):
                    yield CachedObject(path.name, found.st_size, found.st_mtime, is_staged=found.st_nlink > 1)

    def size_of(self, name: str) -> int | None:
        """Return the size of a whole object in bytes; None if the cache lacks it."""
        try:
            return self._whole(name).lstat().st_size
        except FileNotFoundError:
            return None

    def claim(self, name: str) -> bool:
        """Claim an object that this process is going to load; return False if another live process loads it."""
        place = self._loading / name
        for _ in range(3):  # a claim may end between two calls
            try:
                place.hardlink_to(self._claim)
            except FileExistsError:
                holder = self.holder(name)
            else:
                return True
            if holder == self._owner.name:
                return True
            if holder is not None and not is_dead(self.root, holder, now=file_system_time(self._owner)):
                return False
            place.unlink(missing_ok=True)
            if holder is not None and is_owner_name(holder):
                keep_partial(self.root / OWNERS_DIR / holder, self.root, name)
        return False

    def holder(self, name: str) -> str | None:
        """Return the owner that has claimed an object; None if no process has."""
        try:
            return (self._loading / name).read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return None

    def release(self, name: str) -> None:
        """Give up the claim of this process."""
        if self.holder(name) == self._owner.name:
            (self._loading / name).unlink(missing_ok=True)

    def partial(self, name: str, *, several: bool = False) -> Path:
        """Return the file to which this process writes an object.

        Args:
            name: of the object.
            several: whether it is loaded in several parts; then the file has what an earlier process has left of it.
        """
        own = self._partial / name
        if not several:
            return own
        if not own.is_dir():
            try:
                (self._left / name).rename(own)
            except FileNotFoundError:
                own.mkdir()
        return own / DATA

    def left_bytes(self, name: str) -> int:
        """Return the bytes that an earlier process has left of an object, of whole parts."""
        return recorded_bytes(self._left / name / DATA)

    def discard(self, name: str) -> None:
        """Remove what this process has loaded of an object, and its claim."""
        _remove(self._partial / name)
        self.release(name)

    def remove_left(self, but: Collection[str] = ()) -> None:
        """Remove what processes that have ended have left of objects, except for some."""
        for path in self._left.iterdir():
            if is_cached_name(path.name) and path.name not in but:
                _remove(path)

    def complete(self, name: str) -> None:
        """Make the object that `partial` holds a whole one."""
        own, whole = self._partial / name, self._whole(name)
        several = own.is_dir()
        written = own / DATA if several else own
        written.chmod(0o444)
        try:
            written.rename(whole)
        except FileNotFoundError:
            whole.parent.mkdir(exist_ok=True)
            if written.exists():  # else an answer of the file server was lost, and the first rename has counted
                written.rename(whole)
        if several:
            _remove(own)
        self.release(name)

    def stage(self, name: str, place: Path) -> bool:
        """Link a whole object to a place below `staged`, and count it as used now.

        Args:
            name: of the object.
            place: path; its directories are made, and an earlier link is replaced.

        Returns:
            False if the object isn't there (any more): load it.
        """
        whole = self._whole(name)
        try:
            try:
                place.hardlink_to(whole)
            except FileExistsError:
                place.unlink()
                place.hardlink_to(whole)
            except FileNotFoundError:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.hardlink_to(whole)
            os.utime(place)  # the same file: another process may be removing the other link, which this one prevents
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
        return self._objects.joinpath(name[:2], name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
