"""Labels of a finished inference that a user has corrected, when the experiment is edited and the edit is reverted."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console
from tests.unit.detector.constant_model import IMAGE_SIZE, metadata, model_bytes, spec_fields

from maskrcnn_operator.local.command import run_manifest

TRAINER = (sys.executable, "-m", "maskrcnn_trainer.cli")


@pytest.fixture(name="workspace")
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a workspace with two images and an exported model."""
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    monkeypatch.setenv("MASKRCNN_THREADS", "1")
    (tmp_path / "ws" / "images").mkdir(parents=True)
    for name in ("a", "b"):
        Image.fromarray(np.zeros((*IMAGE_SIZE, 3), np.uint8)).save(tmp_path / "ws" / "images" / f"{name}.png")
    (tmp_path / "ws" / "model.onnx").write_bytes(model_bytes(metadata()))
    return tmp_path / "ws"


def run(workspace: Path, threshold: float) -> int:
    inference = {"imageDir": "/workspace/images", "threshold": threshold}
    content: dict[str, Any] = {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": "cells"},
        "spec": {
            "workspace": {"persistentVolumeClaim": {"claimName": "maskrcnn"}},
            "maxRestarts": 0,
            "experiment": spec_fields(),
            "steps": [{"name": "label", "modelPath": "/workspace/model.onnx", "inference": inference}],
        },
    }
    file = workspace.parent / "experiment.yaml"
    file.write_text(yaml.safe_dump(content))
    return run_manifest(file, workspace, jobs=1, console=Console(file=io.StringIO()), trainer=TRAINER)


def correct(label: Path, *, same_size: bool) -> str:
    """Change the category of a label's first object and, unless ``same_size``, remove the last object."""
    objects = json.loads(label.read_text())
    objects[0]["category_id"] = 9 if objects[0]["category_id"] != 9 else 2
    text = json.dumps(objects if same_size else objects[:-1]) + "\n"
    label.write_text(text)
    return text


def found(workspace: Path, text: str) -> list[str]:
    """Return the names of the directories with a label of this text."""
    return sorted(
        path.parent.parent.name for path in (workspace / "cells").glob("*/labels/a.json") if path.read_text() == text
    )


@pytest.mark.parametrize(("same_size", "place"), [(True, "label"), (False, "label.changed-1")])
def test_corrected_labels_survive_an_edit_and_its_reversal(workspace: Path, same_size: bool, place: str) -> None:
    home = workspace / "cells"
    assert run(workspace, 0.5) == 0
    text = correct(home / "label" / "labels" / "a.json", same_size=same_size)
    assert run(workspace, 0.65) == 0
    assert len(found(workspace, text)) == 1
    assert run(workspace, 0.5) == 0
    assert found(workspace, text) == [place]
    assert (home / "label" / "labels" / "b.json").is_file()
    # the correction also survives further edits
    for threshold in (0.65, 0.8, 0.85):
        assert run(workspace, threshold) == 0
        assert len(found(workspace, text)) == 1


def test_corrected_labels_survive_a_repeated_run(workspace: Path) -> None:
    assert run(workspace, 0.5) == 0
    text = correct(workspace / "cells" / "label" / "labels" / "a.json", same_size=False)
    for _ in range(2):
        assert run(workspace, 0.5) == 0
        assert found(workspace, text) == ["label.changed-1"]
