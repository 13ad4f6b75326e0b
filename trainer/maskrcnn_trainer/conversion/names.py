"""Search for image files that ``file_name`` does not lead to, with a hint at the file that was probably meant."""

from __future__ import annotations

import errno
import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from maskrcnn_trainer.data.coco import CocoImage

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_SHOWN = 400  # characters of a name in a message
_LISTED = 1_000_000  # files among which the intended one is searched for


def missing_files(images: Iterable[CocoImage], image_dir: str) -> dict[int, str]:
    """Return a message for each image whose file does not exist, by image id.

    Every directory is listed once, so that existing files need no system call each.

    Args:
        images: with names relative to `image_dir`.
        image_dir: an existing directory.
    """
    listed: dict[str, set[str] | None] = {}
    absent = []
    for image in images:
        folder, name = posixpath.split(image.file_name)
        if folder not in listed:
            listed[folder] = _names_in(image_dir, folder)
        names = listed[folder]
        if names is not None and name not in names and not _exists(image_dir, image.file_name):
            absent.append(image)
    if not absent:
        return {}
    meant = _MeantFiles(image_dir)
    return {
        image.id: f"file_name {_brief(image.file_name)!r}: no such file in {image_dir}{meant.hint(image.file_name)}"
        for image in absent
    }


def _brief(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."


def _names_in(image_dir: str, folder: str) -> set[str] | None:
    """Return the names in a folder; None if it may not be listed, though its files may still be readable."""
    try:
        return set(os.listdir(os.path.join(image_dir, folder)))  # noqa: PTH118, PTH208 - names, not paths
    except ValueError:  # no file name has half of a surrogate pair
        return set()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return None
        if error.errno not in _ABSENT:
            raise
        return set()


def _exists(image_dir: str, name: str) -> bool:
    """Return whether a file exists whose name is listed in another spelling, as on a case-insensitive file system."""
    try:
        return (Path(image_dir) / name).is_file()
    except (OSError, ValueError):
        return False


class _MeantFiles:
    """Files below a directory, found by names that differ in spelling or in their leading folders."""

    def __init__(self, image_dir: str) -> None:
        self._image_dir = image_dir
        self._by_path: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}
        for path in _files_below(image_dir):
            plain = _plain(path)
            self._by_path.setdefault(plain, path)
            self._by_name.setdefault(posixpath.basename(plain), []).append(path)

    def hint(self, name: str) -> str:
        """Return the file that was probably meant, as the end of a sentence; "" if none is found."""
        parts = _plain(name).split("/")
        for skipped in range(len(parts)):
            found = self._by_path.get("/".join(parts[skipped:]))
            if found is not None:
                return f"; {found!r} is probably meant: {self._difference(name, found, skipped)}"
        same = self._by_name.get(parts[-1], [])
        if len(same) == 1:
            folder = posixpath.join(self._image_dir, posixpath.dirname(same[0]))
            return f"; {same[0]!r} is probably meant: --image_dir {folder} has a file of this name"
        return ""

    def _difference(self, name: str, found: str, skipped: int) -> str:
        if "\\" in name:
            return "folders are separated by / and not by \\"
        if skipped:
            prefix = "/".join(posixpath.normpath(name.lstrip("/")).split("/")[:skipped])
            parent = posixpath.abspath(self._image_dir).removesuffix(f"/{prefix}")
            if parent != posixpath.abspath(self._image_dir):
                return f"--image_dir {parent or '/'} would lead to it"
            return f"the name is relative to --image_dir, without {prefix!r}"
        if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", found):
            form, other = ("NFC", "NFD") if unicodedata.is_normalized("NFC", found) else ("NFD", "NFC")
            return f"its letters are in Unicode form {form} on the disk and {other} in the annotations"
        if unquote(name) == found:
            return "the name must not be quoted as in a URL"
        return (
            "the names differ in upper and lower case"
            if name.casefold() == found.casefold()
            else "the spelling differs"
        )


def _plain(name: str) -> str:
    """Return a name in a form that ignores the changes made by exporters and file systems."""
    plain = unicodedata.normalize("NFC", unquote(name.replace("\\", "/"))).casefold()
    return posixpath.normpath(plain).lstrip("/")


def _files_below(image_dir: str) -> Iterator[str]:
    count = 0
    for folder, _, names in os.walk(image_dir):
        below = os.path.relpath(folder, image_dir)
        for name in names:
            count += 1
            if count > _LISTED:
                return
            yield name if below == "." else f"{below}/{name}"
