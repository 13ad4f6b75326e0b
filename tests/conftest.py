"""What every tier shares: where the real data is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real images and annotations; where it is absent, tests that need it are skipped and say so."""
    folder = Path(os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "coco" / "instances_val.json").is_file():
        pytest.skip(f"real data not found at {folder}: set MASKRCNN_TEST_DATA")
    return folder
