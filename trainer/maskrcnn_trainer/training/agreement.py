"""Check that all ranks found the same records, of which each takes its own part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from maskrcnn_trainer.data.identity import records_digest
from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.errors import TryAgain


class _WorkerGroup(Protocol):
    def gather(self, value: Any) -> Sequence[Any]: ...


def check_same_on_all_ranks(records: RecordIndex, field: str, group: _WorkerGroup) -> None:
    """Compare the records that each rank found; a collective call.

    Each rank lists and indexes the files for itself. With other records on one of them, images would be used twice and
    others never.

    Args:
        records: found by this rank.
        field: of ``dataConfig`` that names them, for the message.
        group: the processes that train together.

    Raises:
        TryAgain: on every rank, where one found others than rank 0: the cached listing of a network file system, for
            one, is right some seconds later.
    """
    found = group.gather((records_digest(records), len(records), len(records.files)))
    others = [rank for rank, one in enumerate(found) if one[0] != found[0][0]]
    if others:
        (_, here, files), (_, there, other_files) = found[0], found[others[0]]
        raise TryAgain(
            f"dataConfig.{field}: process {others[0]} found {there} records in {other_files} files, process 0 found "
            f"{here} in {files}, or files of other names or sizes ({len(others)} of {len(found)} processes differ); "
            "all nodes must see the same files: mount the same volume on each, and wait until writing has ended"
        )
