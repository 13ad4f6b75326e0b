"""Settings and fixtures of all tiers: Hypothesis, and the location of the real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# No deadline: on a busy machine any example may take longer than Hypothesis' 200 ms. CI draws the same examples in
# every run and needs no example database, so that a build doesn't depend on what an earlier one drew.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real images and annotations; where it is absent, tests that need it are skipped and say so."""
    folder = Path(os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "coco" / "instances_val.json").is_file():
        pytest.skip(f"real data not found at {folder}: set MASKRCNN_TEST_DATA")
    return folder
