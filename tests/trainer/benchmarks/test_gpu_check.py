"""Stages of the GPU check as processes of their own, at small sizes on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.trainer

ROOT = Path(__file__).resolve().parents[3]
SMALL = (
    "height=128",
    "width=128",
    "batch=1",
    "steps=2",
    "warm=1",
    "nlayers=10",
    "rois=16",
    "proposals=20",
    "seconds=1",
)


def _results(stage: str, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return the results of a stage that runs without ``site``, as on a machine where nothing is installed."""
    paths = [ROOT / "trainer", ROOT / "operator", *(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))]
    hidden = {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": os.pathsep.join(map(str, paths)), "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "benchmarks" / "gpu_check.py"), stage, *SMALL, *arguments],
        env={**os.environ, **hidden},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]


def test_smoke_stage_names_device_and_errors_of_each_precision(tmp_path: Path) -> None:
    device, *precisions, compiled = _results("smoke", tmp_path)
    assert (device["device"], device["gpus"]) == ("CPU", [])
    assert [one["precision"] for one in precisions] == ["float32", "float32 with TF32", "float16"]
    assert precisions[0]["matmul_error"] < 1e-6 < precisions[2]["matmul_error"] < 1e-2
    assert compiled["xla"] == pytest.approx(compiled["expected"], rel=1e-4)


def test_training_stage_measures_a_fixed_batch_and_records(tmp_path: Path) -> None:
    first, fixed, real = _results("train", tmp_path, "images=2")
    assert [one["input"] for one in (first, fixed, real)] == ["none", "fixed", "records"]
    assert first["peak_gib"] is None
    for one in (fixed, real):
        assert one["images_s"] > 0
        assert 0 <= one["waiting_share"] <= 1
        assert one["measured"]["total_loss"] > 0
        assert one["measured"]["mask_loss"] > 0
        assert one["records"] == "drawn pictures of 128x128 with 8 objects each"


def test_nms_stage_compares_every_implementation(tmp_path: Path) -> None:
    results = _results("nms", tmp_path)
    assert {one["nms"] for one in results} >= {"kernel", "loop", "matrix"}
    assert all(one["equal"] and one["ms"] > 0 for one in results if "error" not in one)
    assert {one["nms"] for one in results if "error" in one} <= {"kernel"}
