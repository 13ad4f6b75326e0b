"""Settings and fixtures of all tiers: Hypothesis, skips that count as failures, and the location of the real data."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
NO_SKIPS = "MASKRCNN_NO_SKIPS"


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("", "0", "false")


# No deadline: on a busy machine any example may take longer than Hypothesis' 200 ms. CI draws the same examples in
# every run and needs no example database, so that a build doesn't depend on what an earlier one drew.
settings.register_profile("project", deadline=None, derandomize=_is_set("CI"))
settings.load_profile("project")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With MASKRCNN_NO_SKIPS let skipped tests fail, so that a green run means that all tests ran."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _is_set(NO_SKIPS):
        report.outcome = "failed"
        report.longrepr = (
            f"{NO_SKIPS} is set, and {item.nodeid} is skipped: {call.excinfo.value if call.excinfo else ''}"
        )
    return report


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder with real images and annotations; skip the test if it is missing."""
    folder = Path(os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "coco" / "instances_val.json").is_file():
        pytest.skip(f"real data not found at {folder}: set MASKRCNN_TEST_DATA")
    return folder


@pytest.fixture(autouse=True)
def _no_token_of_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the token that a launch in the same process has left in the environment."""
    monkeypatch.delenv("MASKRCNN_RUN_TOKEN", raising=False)
