"""Which images a directory holds, and what their results are called."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.images.decode import SUFFIXES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceImage:
    """One image file.

    Attributes:
        path: of the file.
        name: its path below the directory, with slashes: the name of the annotated image (with ``.png`` behind it where
            OpenCV cannot write its format).
        label: the same for the label file, ``.json`` in place of the suffix.
        image_id: in ``predictions.json``.
    """

    path: Path
    name: str
    label: str
    image_id: int


def find_images(given: Path, *, exclude: Sequence[Path] = ()) -> list[SourceImage]:
    """The images at ``given``, by name.

    Args:
        given: a directory, searched to its depths for files with one of SUFFIXES in any case (hidden files and
            directories are left out), or one file, whatever its suffix.
        exclude: directories that are not entered, such as the results of an earlier run.

    Raises:
        InvalidInput: there is no such file or directory, or no image in it.
    """
    if given.is_dir():
        names = _names_below(given, {path.resolve() for path in exclude})
        root = given
    elif given.is_file():
        names, root = [given.name], given.parent
    else:
        raise InvalidInput(f"--image_dir {given}: there is no such directory or file", reason="InvalidData")
    if not names:
        raise InvalidInput(
            f"--image_dir {given}: there is no image in it; files that end in {', '.join(SUFFIXES)} are looked for, "
            "in subdirectories too",
            reason="InvalidData",
        )
    labels = _label_names(names)
    ids = image_ids(names)
    return [
        SourceImage(root / name, name, label, image_id)
        for name, label, image_id in zip(names, labels, ids, strict=True)
    ]


def image_ids(names: Sequence[str]) -> list[int]:
    """A number for each image: that in its name where every name is a number of its own (as COCO's are), else 1..N."""
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
    # images are often gathered by links to folders; one that leads back to where it was reached from is entered once
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
            "--image_dir %s: directories below it that cannot be read are left out: %d, such as %s (%s)",
            root, len(unreadable), first.filename, first.strerror,
        )  # fmt: skip
    return sorted(names)


def _label_names(names: Sequence[str]) -> list[str]:
    """``a.json`` for ``a.jpg``; ``a.jpg.json`` where there is an ``a.png`` beside it, so that neither is lost."""
    short = [str(PurePosixPath(name).with_suffix(".json")) for name in names]
    # Names that differ in case alone are one file on some file systems. The longer form may be another's shorter one.
    used = Counter(label.lower() for label in (*short, *(f"{name}.json" for name in names)))
    return [label if used[label.lower()] == 1 else f"{name}.json" for name, label in zip(names, short, strict=True)]
