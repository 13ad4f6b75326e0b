"""With MASKRCNN_NO_SKIPS skipped tests fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TESTS = """
import pytest

@pytest.fixture
def lacking():
    pytest.skip("no Kubernetes")

def test_fixture(lacking): ...

@pytest.mark.skipif(True, reason="no parser")
def test_mark(): ...

def test_call():
    pytest.skip("no promtool")

@pytest.mark.xfail(strict=True)
def test_known():
    assert False
"""


@pytest.mark.parametrize(
    ("value", "code", "summary"),
    [("1", 1, "1 failed, 1 xfailed, 2 errors"), ("0", 0, "3 skipped, 1 xfailed"), ("", 0, "3 skipped, 1 xfailed")],
)
def test_skipped_test_fails_with_no_skips(tmp_path: Path, value: str, code: int, summary: str) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "MASKRCNN_NO_SKIPS": value},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[-1].startswith(summary), done.stdout
    assert done.returncode == code
