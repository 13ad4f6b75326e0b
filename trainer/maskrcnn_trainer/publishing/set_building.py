"""Published set of a snapshot: which of its files keep their objects, and which are to be uploaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.object_store.fence.encoding import encode_record
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.untrusted import LARGEST_MANIFEST, MOST_FILES
from maskrcnn_trainer.publishing.published_files import UnpublishableResults, best_checkpoint, checkpoints_in
from maskrcnn_trainer.publishing.snapshot import FileStamp, KnownFile, ResultsSnapshot
from maskrcnn_trainer.shared.messages import RESULT_FILE

_SMALL_ENOUGH = MOST_FILES // 10
"""Number of files whose manifest is never too large."""
_LONGEST_NUMBER = 18


@dataclass(frozen=True, slots=True)
class BuiltSet:
    """Set of a snapshot.

    Attributes:
        published: the set; the files to upload have no key yet.
        stamps: of its files on this machine, by path.
        changed: paths of the files to upload.
    """

    published: PublishedSet
    stamps: Mapping[str, FileStamp]
    changed: frozenset[str]


def build_set(
    snapshot: ResultsSnapshot,
    fingerprint: str,
    *,
    before: PublishedSet | None,
    known: Sequence[Mapping[str, KnownFile]],
    others: Sequence[PublishedFile] = (),
) -> BuiltSet:
    """Return the set of a snapshot; files that aren't known are read and hashed.

    Args:
        snapshot: the files.
        fingerprint: of the step.
        before: set of the fingerprint that the pointer names; a file with an equal one keeps its object.
        known: files whose objects may be named, by path, with the stamps of their local copies.
        others: files that other nodes have uploaded; each replaces a file of its path.

    Raises:
        OSError: a file of the snapshot can't be read.
        UnpublishableResults: the set has too many files.
    """
    elsewhere = {file.path for file in others}
    here = [file for file in snapshot.files if file.path not in elsewhere]
    if len(here) + len(others) > MOST_FILES:
        raise _too_many(len(here) + len(others))
    of_before = {file.path: file for file in before.files} if before else {}
    files = list(others)
    for file in here:
        found = _known(file.path, file.stamp, known)
        if found is None:
            found = _hashed(snapshot.directory / file.path, file.path)
            equal = of_before.get(file.path)
            if equal is not None and (equal.size, equal.sha256) == (found.size, found.sha256):
                found = equal
        files.append(found)
    files.sort(key=lambda file: file.path)
    checkpoints = checkpoints_in(file.path for file in files)
    hashes = {file.path: file.sha256 for file in files if file.path in checkpoints}
    published = PublishedSet(
        fingerprint,
        tuple(files),
        checkpoints,
        best_checkpoint(snapshot.evaluations, hashes),
        RESULT_FILE if snapshot.is_complete and not snapshot.left_out else None,
    )
    stamps = {file.path: file.stamp for file in here}
    return BuiltSet(published, stamps, frozenset(file.path for file in files if not file.key))


def refuse_too_large(published: PublishedSet, keys: StepKeys, token: str) -> None:
    """Refuse a set whose manifest would be larger than what is read back.

    Args:
        published: the set, whose new files have no key yet.
        keys: of the step.
        token: of this process.

    Raises:
        UnpublishableResults: it would.
    """
    if len(published.files) <= _SMALL_ENOUGH:
        return
    longest = len(keys.written_once(1, token, 1, "")) + 2 * _LONGEST_NUMBER
    names = sum(len(file.path.rpartition("/")[2]) + longest for file in published.files if not file.key)
    if len(encode_record(published)) + names > LARGEST_MANIFEST:
        raise _too_many(len(published.files))


def _too_many(count: int) -> UnpublishableResults:
    return UnpublishableResults(
        f"the results have {count:,} files, too many for one manifest (at most {MOST_FILES:,}, and 64 MB of names): "
        "use several steps, each with a part of the images"
    )


def _known(path: str, stamp: FileStamp, known: Sequence[Mapping[str, KnownFile]]) -> PublishedFile | None:
    for files in known:
        found = files.get(path)
        if found is not None and found.stamp == stamp:
            return found.published
    return None


def _hashed(local: Path, path: str) -> PublishedFile:
    with local.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return PublishedFile(path, "", stream.tell(), digest)
