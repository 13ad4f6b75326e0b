"""Sizes and table of the benchmark of staging."""

from __future__ import annotations

import statistics

import object_storage_staging
from object_storage_staging import Measured


def test_sizes_spread_around_their_mean_and_add_up() -> None:
    found = object_storage_staging.sizes(5000, 1_600_000_000)
    assert len(found) == 5000
    assert abs(sum(found) - 1_600_000_000) <= 5000
    assert 0.1 < sum(one > 500_000 for one in found) / 5000 < 0.15
    assert statistics.median(found) < 320_000
    assert found == object_storage_staging.sizes(5000, 1_600_000_000)


def test_table_has_ratios_of_the_best_runs() -> None:
    results = {
        object_storage_staging.REFERENCE: [Measured(10.0, 9.0, 105), Measured(12.0, 8.0, 110)],
        "staging": [Measured(11.0, 12.0, 103), Measured(15.0, 10.0, 104)],
    }
    lines = object_storage_staging.table(100, 200_000_000, results).splitlines()
    assert lines[0] == "100 objects, 200 MB, 16 transfers at once, best of 2"
    assert lines[2].split()[2:] == ["10.00", "1.00", "8.00", "1.00", "20", "1.050"]
    assert lines[3].split() == ["staging", "11.00", "1.10", "10.00", "1.25", "18", "1.030"]
