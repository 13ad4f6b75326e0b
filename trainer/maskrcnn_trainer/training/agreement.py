"""Check that all ranks found the same records, since each rank reads its own part of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from maskrcnn_trainer.data.identity import records_digest
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.errors import TryAgain


class _GatheringGroup(Protocol):
    def gather(self, value: Any) -> Sequence[Any]: ...


def check_same_on_all_ranks(records: RecordIndex, field: str, group: _GatheringGroup) -> None:
    """Compare the records that each rank found (collective).

    Each rank lists and indexes the files by itself. If one found other records, some images would be used twice and
    others never.

    Args:
        records: found by this rank.
        field: field of ``dataConfig`` that names them, for the message.
        group: the processes that train together.

    Raises:
        TryAgain: on every rank, if one found other records than rank 0. A retry may succeed, since the cached listing
            of a network file system, for example, is updated some seconds later.
    """
    found = group.gather((records_digest(records), len(records), len(records.files)))
    others = [rank for rank, one in enumerate(found) if one[0] != found[0][0]]
    if others:
        (_, here, files), (_, there, other_files) = found[0], found[others[0]]
        raise TryAgain(
            f"dataConfig.{field}: process {others[0]} found {there} records in {other_files} files, process 0 found "
            f"{here} in {files}, or files of other names or sizes ({len(others)} of {len(found)} processes differ); "
            "all nodes must have the same files: mount the same volume on each, and wait until all files are written"
        )
