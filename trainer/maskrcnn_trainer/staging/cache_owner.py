"""Processes that use a shared cache: their directories in it, and whether they still live.

A process has the directory ``owners/<owner>`` with the file ``alive``, which it touches again and again. Whatever it
has staged is below, as hard links, so that a dead process's links can be found and removed. Names and times are all
that other nodes see on a network file system: locks of `fcntl` aren't reliable on all of them, and times of two
machines differ, so ages are compared with a file that is touched now on the same file system.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

OWNERS_DIR, LOADING_DIR, PARTIAL_DIR, CLAIM_FILE = "owners", "loading", "partial", "claim"
"""Names in a cache, see `object_cache`."""

HEARTBEAT_SECONDS = 20.0
DEAD_SECONDS = 120.0
"""Age of ``alive`` from which the process of another machine counts as dead, so that its claims are free."""
REMOVAL_SECONDS = 3600.0
"""The same, for what it has staged: a process that a file server's failure has stopped may continue with its files."""

SECONDS_OF_PARTIAL = 7 * 24 * 3600.0
"""Time for which a part of an object is kept after its process has ended."""

_ALIVE = "alive"
_OWNER = re.compile(r"(?P<host>[0-9a-f]{16})-(?P<pid>[0-9]{1,10})-(?P<started>[0-9]{1,20})-[0-9a-f]{8}")


class CacheOwner:
    """This process as a user of a cache; it counts as alive from `__enter__` to `__exit__` or its death.

    Args:
        root: directory of the cache.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = f"{_host()}-{os.getpid()}-{_started(os.getpid()) or 0}-{secrets.token_hex(4)}"
        self.directory = root / OWNERS_DIR / self.name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="cache-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True)
        self._touch()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # the error that ends the block is the one to report
            keep_partial(self.directory, self._root)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                self._touch()
            except OSError:  # a full disk or a lost mount: the work itself reports it
                continue

    def _touch(self) -> None:
        (self.directory / _ALIVE).touch()


def is_owner_name(text: str) -> bool:
    """Return whether a name is one of an owner; others in a cache are never touched."""
    return _OWNER.fullmatch(text) is not None


def is_dead(root: Path, name: str, *, now: float, seconds: float = DEAD_SECONDS) -> bool:
    """Return whether the process of an owner has ended; False for names of other kinds.

    A process of this machine is looked up, so that its locks are free as soon as it is killed. One of another machine
    is dead if it hasn't touched its file for some time.

    Args:
        root: directory of the cache.
        name: of the owner.
        now: time of the file system, see `file_system_time`.
        seconds: that time, for a process of another machine.
    """
    match = _OWNER.fullmatch(name)
    if match is None:
        return False
    if match["host"] == _host():
        return _started(int(match["pid"])) != int(match["started"])
    for path in (root / OWNERS_DIR / name / _ALIVE, root / OWNERS_DIR / name):
        try:
            return now - path.stat().st_mtime > seconds
        except FileNotFoundError:  # between its two calls, or at its end
            continue
    return True


def file_system_time(owner: CacheOwner) -> float:
    """Return the current time of the file system of a cache, in seconds."""
    probe = owner.directory / "now"
    probe.touch()
    return probe.stat().st_mtime


def remove_dead_owners(root: Path, owner: CacheOwner) -> int:
    """Remove the directories of dead processes, and with them all that they have staged; return their number.

    What they have loaded of objects is kept in ``partial/`` for a week, for the next process that needs it.
    """
    now = file_system_time(owner)
    removed = 0
    for path in sorted((root / OWNERS_DIR).iterdir()):
        if path.name != owner.name and is_dead(root, path.name, now=now, seconds=REMOVAL_SECONDS):
            # renamed first, so that of several processes one alone removes it
            aside = owner.directory / f"dead-{path.name}"
            try:
                path.rename(aside)
            except FileNotFoundError:
                continue
            keep_partial(aside, root)
            shutil.rmtree(aside, ignore_errors=True)
            removed += 1
    _remove_outdated(root / PARTIAL_DIR, now)
    for claim in (root / LOADING_DIR).glob("*"):
        if is_dead(root, _content(claim), now=now):
            claim.unlink(missing_ok=True)
    return removed


def keep_partial(directory: Path, root: Path, name: str = "*") -> None:
    """Move what a process has loaded of objects of several parts to ``partial/`` of the cache.

    Args:
        directory: of the process, which doesn't load any more.
        root: directory of the cache.
        name: of one object; by default all of them.
    """
    (root / PARTIAL_DIR).mkdir(exist_ok=True)
    for path in sorted((directory / PARTIAL_DIR).glob(name)):
        # a rename fails if another process has left the object, too; both are right, and one is enough
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rename(root / PARTIAL_DIR / path.name)


def _remove_outdated(partial: Path, now: float) -> None:
    for path in partial.glob("*"):
        with contextlib.suppress(FileNotFoundError):
            if now - path.lstat().st_mtime > SECONDS_OF_PARTIAL:
                shutil.rmtree(path, ignore_errors=True)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _host() -> str:
    """Return 16 hexadecimal digits for this machine since its start, other ones in each of its containers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    # processes of other PID namespaces can't be looked up
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return hashlib.sha256("\0".join((boot, namespace, socket.gethostname())).encode()).hexdigest()[:16]


def _started(pid: int) -> int | None:
    """Return the start of a process in clock ticks since the boot; None if it doesn't exist or is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
