from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.data.records import RecordIndex, frame, index_records
from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.training.agreement import check_same_on_all_ranks


class Others:
    """Worker group whose other ranks found these records."""

    def __init__(self, *indexes: RecordIndex) -> None:
        self._indexes = indexes

    def gather(self, value: Any) -> Sequence[Any]:
        class Own:
            def gather(self, value: Any) -> Sequence[Any]:
                self.value = value
                return [value]

        values = []
        for index in self._indexes:
            own = Own()
            check_same_on_all_ranks(index, "trainingFilePattern", own)
            values.append(own.value)
        return [value, *values]


def index_of(folder: Path, **files: list[bytes]) -> RecordIndex:
    folder.mkdir()
    for name, payloads in files.items():
        (folder / name).write_bytes(b"".join(map(frame, payloads)))
    return index_records(f"{folder}/*")


def test_same_files_in_another_directory_agree(tmp_path: Path) -> None:
    one, two = (index_of(tmp_path / name, a=[b"1", b"22"], b=[b"3"]) for name in ("one", "two"))
    check_same_on_all_ranks(one, "trainingFilePattern", Others(two, one))


@pytest.mark.parametrize(
    "other", [{"a": [b"1", b"22"]}, {"a": [b"22", b"1"], "b": [b"3"]}, {"a": [b"1"], "c": [b"22"]}]
)
def test_rank_with_other_records_ends_all_of_them(tmp_path: Path, other: dict[str, list[bytes]]) -> None:
    here, there = index_of(tmp_path / "here", a=[b"1", b"22"], b=[b"3"]), index_of(tmp_path / "there", **other)
    with pytest.raises(TryAgain, match=r"dataConfig\.trainingFilePattern: process 2 found \d records in \d files"):
        check_same_on_all_ranks(here, "trainingFilePattern", Others(here, there))
