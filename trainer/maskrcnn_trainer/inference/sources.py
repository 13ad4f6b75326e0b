"""Images of a directory, and the names of their results."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.images.names import SUFFIXES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceImage:
    """One image file.

    Attributes:
        path: path of the file.
        name: path relative to the directory, with slashes; also that of the annotated image (with ``.png`` appended if
            OpenCV cannot write the format).
        label: relative path of the label file, with ``.json`` in place of the suffix.
        image_id: id in ``predictions.json``.
    """

    path: Path
    name: str
    label: str
    image_id: int


def find_images(given: Path, *, exclude: Sequence[Path] = ()) -> list[SourceImage]:
    """Return the images at ``given``, sorted by name.

    Args:
        given: a directory, searched recursively for files with one of SUFFIXES in any case (without hidden files and
            directories), or one file with any suffix.
        exclude: directories to skip, such as the results of an earlier run.

    Raises:
        InvalidInput: the path doesn't exist, or the directory has no image.
    """
    if given.is_dir():
        names = _names_below(given, {path.resolve() for path in exclude})
        root = given
    elif given.is_file():
        names, root = [given.name], given.parent
    else:
        raise InvalidInput(f"--image_dir {given}: no such directory or file", reason="InvalidData")
    if not names:
        raise InvalidInput(
            f"--image_dir {given}: contains no image (files with suffix {', '.join(SUFFIXES)}), also in its "
            "subdirectories",
            reason="InvalidData",
        )
    labels = _label_names(names)
    ids = image_ids(names)
    return [
        SourceImage(root / name, name, label, image_id)
        for name, label, image_id in zip(names, labels, ids, strict=True)
    ]


def image_ids(names: Sequence[str]) -> list[int]:
    """Return a number for each image: its name if all names are distinct numbers, as in COCO, else 1..N."""
    stems = [PurePosixPath(name).stem for name in names]
    if all(stem.isascii() and stem.isdecimal() and len(stem) <= 18 for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(names) + 1))


def _names_below(root: Path, excluded: set[Path]) -> list[str]:
    names = []
    unreadable: list[OSError] = []

    def keep(error: OSError) -> None:
        if error.filename == os.fspath(root):
            raise error
        unreadable.append(error)

    entered = {root.resolve(), *excluded}
    # data sets often consist of links to directories; each target is entered once, so loops of links end
    for folder, folders, files in os.walk(root, onerror=keep, followlinks=True):
        here = Path(folder)
        new = {name: (here / name).resolve() for name in sorted(folders) if not name.startswith(".")}
        folders[:] = []
        for name, target in new.items():
            if target not in entered:
                entered.add(target)
                folders.append(name)
        names += [
            (here / name).relative_to(root).as_posix()
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    if unreadable:
        first = unreadable[0]
        log.warning(
            "--image_dir %s: skipped %d subdirectories that cannot be read, such as %s (%s)",
            root, len(unreadable), first.filename, first.strerror,
        )  # fmt: skip
    return sorted(names)


def _label_names(names: Sequence[str]) -> list[str]:
    """Return ``a.json`` for ``a.jpg``, but ``a.jpg.json`` if there is also an ``a.png``, so that names are unique."""
    short = [str(PurePosixPath(name).with_suffix(".json")) for name in names]
    # Names that differ only in case are the same file on some file systems. The long form of one name may equal the
    # short form of another.
    used = Counter(label.lower() for label in (*short, *(f"{name}.json" for name in names)))
    return [label if used[label.lower()] == 1 else f"{name}.json" for name, label in zip(names, short, strict=True)]
