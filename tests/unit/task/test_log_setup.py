"""Lines on standard error, and the ranks that write them."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from maskrcnn_trainer.task.log_setup import setup_logging


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.parametrize(
    ("rank", "expected"), [(0, ["INFO    hello", "WARNING careful", "ERROR   broken"]), (3, ["[rank 3] broken"])]
)
def test_ranks_other_than_0_log_errors_alone(
    root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, rank: int, expected: list[str]
) -> None:
    setup_logging(rank)
    setup_logging(rank)
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    logging.getLogger("maskrcnn_trainer.x").info("hello")
    logging.getLogger("maskrcnn_trainer.x").warning("careful")
    logging.getLogger("maskrcnn_trainer.x").error("broken")
    logging.getLogger("absl").info("chatter")
    lines = screen.getvalue().splitlines()
    assert len(lines) == len(expected)
    for line, end in zip(lines, expected, strict=True):
        assert line.endswith(end)
