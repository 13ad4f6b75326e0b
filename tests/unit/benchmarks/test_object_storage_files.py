"""Requests and table of the benchmark of many files."""

from __future__ import annotations

from measured_command import CommandUse, ProcessUse
from object_storage_files import OURS, REFERENCE, Copied, Kind, requests_of_sets, table
from object_storage_server import Served

POINTER = "exp/step/run.json"


def test_requests_are_split_at_the_writes_of_the_pointer() -> None:
    put, file = Served("PutObject", POINTER, 1.0), Served("PutObject", "exp/step/o/1-a-0-x", 1.0)
    claim = [Served("GetObject", POINTER, 1.0), put]
    assert requests_of_sets([*claim, file, file, put, file, put], POINTER) == (5, 2)


def test_table_has_ratios_of_the_best_runs() -> None:
    def copied(seconds: float, cpu: float, requests: int, added: int | None = None) -> Copied:
        use = CommandUse(seconds, cpu, {"helper": ProcessUse(1.0, 50_000_000)})
        return Copied(use, requests, added, 0.5)

    results = {REFERENCE: [copied(10, 4, 20), copied(12, 3, 20)], OURS: [copied(5, 6, 12, 4), copied(8, 5, 12, 4)]}
    lines = table(Kind(10, 2_000_000, "{}"), "shards", results).splitlines()
    assert lines[0] == "10 shards of 2 MB, best of 2"
    assert lines[3].split() == [OURS, "5.00", "0.50", "5.00", "1.67", "1.200"]
    assert "12 requests in all; 10 files more: 4 requests, 0.50 s" in lines[4]
