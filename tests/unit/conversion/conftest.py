"""Images with annotations in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.conversion.sources import Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)
