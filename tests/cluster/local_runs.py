"""The same experiment with processes of this machine instead of pods, and the comparison of its models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from maskrcnn_trainer.model_files.model_file import read_model_file


def run_locally(manifest: dict[str, Any], workspace: Path, shapes: Path, *options: str) -> dict[str, dict[str, str]]:
    """Run the manifest with processes instead of pods; return the metrics of every step.

    Args:
        manifest: of the experiment.
        workspace: directory for images and results.
        shapes: directory of the images.
        options: further flags of ``run``.
    """
    shutil.copytree(shapes, workspace / "raw" / "shapes", dirs_exist_ok=True)
    file = workspace / "experiment.yaml"
    file.write_text(yaml.safe_dump(manifest))
    run = [sys.executable, "-m", "maskrcnn_operator.cli", "run", str(file), "--workspace", str(workspace)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MASKRCNN_", "HOROVOD_"))}
    done = subprocess.run([*run, *options], capture_output=True, text=True, check=False, env=kept)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    status = json.loads((workspace / manifest["metadata"]["name"] / "experiment-status.json").read_text())
    steps = status.get("status", status)["steps"]
    return {step["name"]: {item["name"]: item["value"] for item in step["metrics"]} for step in steps}


def assert_same_weights(first: Path, second: Path) -> None:
    """Check that the models are identical bit by bit, momenta included."""
    left, right = read_model_file(first), read_model_file(second)
    for kind in ("variables", "optimizer"):
        ours, theirs = getattr(left, kind), getattr(right, kind)
        assert set(ours) == set(theirs)
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
