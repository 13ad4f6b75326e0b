"""A training with an invalid spec is reported before TensorFlow is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = (
    "import sys; from maskrcnn_trainer.cli import main\n"
    "try: code = main(sys.argv[1:])\n"
    "except SystemExit as end: code = end.code\n"
    "sys.exit(99 if 'tensorflow' in sys.modules else code)"
)


@pytest.mark.parametrize(
    "command",
    [["train", "-d", "out"], ["evaluate", "-m", "model.tlt", "-r", "out"]],
    ids=["train", "evaluate"],
)
def test_invalid_spec_is_logged_and_reported_at_once(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("initLearningRate: fast\ntotalSteps: 3\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command, "-e", "spec.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 64, done.stderr
    assert 'initLearningRate: "fast" must be a number' in done.stderr
    last = json.loads((tmp_path / "out" / "status.json").read_text().splitlines()[-1])
    assert last["status"] == "FAILURE"
    assert "initLearningRate" in last["message"]
