"""The command line of evaluate: whose files it replaces."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from maskrcnn_trainer.cli import main


@pytest.mark.parametrize("name", ["metrics.json", "detections.json"])
def test_files_that_no_evaluation_has_written_are_not_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (tmp_path / name).write_text("precious")
    with caplog.at_level(logging.ERROR):
        assert main(["evaluate", "-m", "model.tlt", "-e", "spec.yaml", "-r", str(tmp_path)]) == 64
    assert f"{tmp_path} holds {name}" in caplog.text
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]
