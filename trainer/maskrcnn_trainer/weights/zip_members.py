"""Members of a zip archive that may be hostile, read into memory; nothing is extracted."""

from __future__ import annotations

import errno
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.task.files import DAMAGED_ZIP

LARGEST_COMPRESSION = 20
"""Largest accepted ratio of unpacked size to size: weights hardly compress, but the zeros of a new momentum do."""
_ALLOWANCE = 1 << 20
_CHUNK = 1 << 20


class ZipMembers:
    """Open archive whose sizes are plausible; see `open_members`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._infos = {info.filename: info for info in archive.infolist()}
        self._counts = Counter(archive.namelist())
        self.unpacked = sum(info.file_size for info in archive.infolist())

    @property
    def names(self) -> list[str]:
        """Names of the members, in the order of the archive."""
        return list(self._infos)

    def read(self, name: str) -> bytearray:
        """Return the content of a member, of which no more is unpacked than its declared size.

        Raises:
            InvalidInput: it is missing, occurs twice, is encrypted, compressed in an unusual way, or damaged.
        """
        info = self._infos.get(name)
        if info is None:
            raise InvalidInput(f"the archive has no member {name!r:.200}: it is damaged or cut off")
        if self._counts[name] > 1:
            raise InvalidInput(f"the archive has the member {name!r:.200} more than once")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidInput(f"the member {name!r:.200} is encrypted or compressed in an unusual way")
        content = bytearray(info.file_size)
        filled = 0
        with _damage(f"the member {name!r:.200} is damaged"), self._archive.open(info) as stream:
            while chunk := stream.read(_CHUNK):
                content[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
        return content


@contextmanager
def open_members(path: Path) -> Iterator[ZipMembers]:
    """Open an archive.

    Raises:
        InvalidInput: it is damaged, or its members are longer than `LARGEST_COMPRESSION` times the file.
    """
    size = path.stat().st_size
    with _damage("the archive is damaged or cut off"):
        archive = zipfile.ZipFile(path)
    with archive:
        members = ZipMembers(archive)
        if members.unpacked > LARGEST_COMPRESSION * size + _ALLOWANCE:
            raise InvalidInput(
                f"the archive has {size:,} bytes, but {members.unpacked:,} when unpacked; weights compress at most by "
                f"a factor of {LARGEST_COMPRESSION}"
            )
        yield members


def member_names(path: Path) -> list[str]:
    """Return the names of an archive's members.

    Raises:
        InvalidInput: it is damaged.
    """
    with _damage(f"checkpoint: {path} is a damaged archive"), zipfile.ZipFile(path) as archive:
        return archive.namelist()


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except DAMAGED_ZIP as error:
        raise InvalidInput(f"{what}: {str(error)[:200]}") from error
    except OSError as error:
        # A position in the archive at which no file can be read; other errors are those of the storage.
        if error.errno != errno.EINVAL:
            raise
        raise InvalidInput(f"{what}: it has a position outside of the file") from error
