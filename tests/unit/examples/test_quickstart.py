"""Summary of the quickstart, on a workspace as its steps leave it, and what its parts name in common."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from maskrcnn_trainer.evaluation.drawing import write_image
from maskrcnn_trainer.images.decode import decode_image

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "examples" / "quickstart"


@pytest.fixture(scope="module")
def summary() -> ModuleType:
    """Return the example's script as a module."""
    spec = importlib.util.spec_from_file_location("quickstart_summary", FOLDER / "summary.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_results(summary: ModuleType, experiment: Path) -> None:
    """Write what the summary reads of the experiment."""
    train, inference = (experiment / step for step in ("train", "inference"))
    (inference / "images_annotated").mkdir(parents=True)
    train.mkdir()
    metrics = {"AP": 0.25, "AP50": 0.5, "mask_AP": 0.125, "mask_AP50": 0.375}
    (train / "result.json").write_text(json.dumps({"metrics": metrics}))
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    found = {"categories": categories, "annotations": [{"category_id": 1}] * 11}
    (inference / "predictions.json").write_text(json.dumps(found))
    for number in range(summary.COLUMNS * summary.ROWS + 1):
        write_image(inference / "images_annotated" / f"{number}.png", np.full((8, 8, 3), number, np.uint8))


def test_summary_prints_metrics_and_writes_one_picture(
    summary: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_results(summary, tmp_path / "quickstart")
    monkeypatch.setattr("sys.argv", ["summary.py", "--workspace", str(tmp_path)])

    assert summary.main() == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("0.2500", "0.5000", "0.1250", "0.3750", "discs", "11", "detections.png"))
    picture = decode_image(tmp_path / "quickstart" / "detections.png")
    assert picture.shape == (summary.ROWS * summary.SIDE, summary.COLUMNS * summary.SIDE, 3)
    assert picture[0, 0, 0] == 0
    assert picture[-1, -1, 0] == summary.COLUMNS * summary.ROWS - 1


@pytest.mark.parametrize("made", [True, False])
def test_last_line_names_the_report_or_the_command_that_makes_it(
    summary: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: bool
) -> None:
    experiment = tmp_path / "quickstart"
    make_results(summary, experiment)
    if made:
        (experiment / "report.html").touch()
    monkeypatch.setattr("sys.argv", ["summary.py", "--workspace", str(tmp_path)])
    assert summary.main() == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f"Report: {experiment}/report.html" if made else f"No report is there; make it: maskrcnn report -r {experiment}"
    )


def test_script_manifest_and_summary_name_the_same_paths() -> None:
    script = (ROOT / "scripts" / "quickstart.sh").read_text()
    manifest = yaml.safe_load((FOLDER / "experiment.yaml").read_text())
    [raw] = re.findall(r'--output "\$workspace/([\w/]+)"', script)
    paths = re.findall(r"/workspace/(\S+?)/(?:images|samples|train\.json|val\.json)", yaml.safe_dump(manifest))
    assert set(paths) == {raw}
    assert manifest["metadata"]["name"] == "quickstart"
    assert {"train", "inference"} <= {step["name"] for step in manifest["spec"]["steps"]}
