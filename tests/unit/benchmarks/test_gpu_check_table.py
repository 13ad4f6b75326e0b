"""Table of a GPU check's results."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SIZES = {"dtype": "mixed_float16", "height": 832, "width": 1344, "batch": 4}
GPU = {"stage": "smoke", "gpus": [{"device_name": "NVIDIA H100"}], "cpus": 26, "tensorflow": "2.18.1", "cuda": "12.5"}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check_table

    return gpu_check_table


def _run(*results: dict[str, Any], ended: object = 0, rehearsal: bool = False) -> list[dict[str, Any]]:
    return [{"started": 1, "arguments": [], "rehearsal": rehearsal}, *results, {"ended": ended, "seconds": 3.0}]


def _trained(**values: Any) -> dict[str, Any]:
    return {"stage": "train", "input": "records", "xla": False, **SIZES, **values}


def _section(text: str, heading: str) -> str:
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_missing_results_are_not_measured(tables: ModuleType) -> None:
    text = tables.table({}, rehearsal=False)
    targets = _section(text, "Compared with aims and published numbers")
    assert targets.count("not measured") == len(tables.TARGETS)
    assert " 0" not in text
    assert _section(text, "Training").strip() == "Not measured."


def test_number_that_is_absent_in_a_result_is_not_measured(tables: ModuleType) -> None:
    text = tables.table({"train-amp": _run(_trained(images_s=31.46, peak_gib=None))}, rehearsal=False)
    [row] = [line for line in _section(text, "Training").splitlines() if line.startswith("| train-amp")]
    assert row.count("not measured") == 4  # one batch, waiting, first step, peak
    assert "| 31.5 |" in row


def test_measured_numbers_are_next_to_aims_and_published_ones(tables: ModuleType) -> None:
    runs = {
        "train-amp": _run(_trained(images_s=31.46)),
        "train-amp-xla": _run(_trained(images_s=64.04, waiting_share=0.031, xla=True)),
        "inference-amp": _run({"stage": "inference", **SIZES, "batch": 24, "images_s": 1234.5}),
    }
    lines = _section(tables.table(runs, rehearsal=False), "Compared with aims and published numbers").splitlines()
    assert "| training images/s, mixed_float16, batch 4 | 31.5 | - | 28.6 |" in lines
    assert "| training images/s, mixed_float16 with XLA, batch 4 | 64.0 | at least 60 | - |" in lines
    assert "| share of such a step that waits for input | 3.1% | at most 10% | - |" in lines
    assert "| inference images/s, mixed_float16, batch 24 | 1,234.5 | - | 80.7 |" in lines
    assert "| inference images/s, mixed_float16, batch 6 | not measured | - | 60.8 |" in lines


def test_number_of_another_batch_size_is_not_compared(tables: ModuleType) -> None:
    text = tables.table({"train-amp": _run(_trained(images_s=31.46, batch=2))}, rehearsal=False)
    assert "31.5" not in _section(text, "Compared with aims and published numbers")


def test_rehearsal_claims_no_number_of_a_gpu(tables: ModuleType) -> None:
    runs = {"train-amp": _run(_trained(images_s=31.46), rehearsal=True), "smoke": _run(GPU)}
    text = tables.table(runs, rehearsal=True)
    assert text.splitlines()[0] == "# Rehearsal of the GPU check on a CPU at small sizes: no number of a GPU"
    assert "31.5" not in _section(text, "Compared with aims and published numbers")
    assert "31.5" in _section(text, "Training")
    assert "H100" not in text.partition("##")[0]


def test_results_of_a_rehearsal_are_not_in_the_table_of_a_gpu(tables: ModuleType) -> None:
    runs = {"train-amp": _run(_trained(images_s=31.46), rehearsal=True), "smoke": _run(GPU)}
    text = tables.table(runs, rehearsal=False)
    assert "31.5" not in text
    assert "1 x NVIDIA H100, 26 CPUs; TensorFlow 2.18.1 for CUDA 12.5" in text


def test_failed_runs_are_listed(tables: ModuleType) -> None:
    runs = {"smoke": _run(GPU), "nms": _run(ended="time limit"), "train-amp": _run()[:1], "roi-align": _run(ended=-11)}
    failed = _section(tables.table(runs, rehearsal=False), "Runs that failed")
    assert "| nms | time limit | logs/nms.log |" in failed
    assert "| train-amp | did not end | logs/train-amp.log |" in failed
    assert "| roi-align | -11 |" in failed
    assert "smoke" not in failed


def test_implementation_without_a_kernel_shows_its_error(tables: ModuleType) -> None:
    sizes = {"stage": "nms", "nms": "kernel", "xla": True, "groups": 5, "boxes": 1000, "classes": 1}
    text = tables.table({"nms": _run({**sizes, "error": "InvalidArgumentError: no kernel"})}, rehearsal=False)
    row = "| kernel, XLA | 5 x 1000, 1 classes | not measured | InvalidArgumentError: no kernel | not measured |"
    assert row in _section(text, "NMS").splitlines()


def test_kernels_are_shown_with_their_source(tables: ModuleType) -> None:
    source, size = "kernels on the GPU (CUPTI)", {**SIZES, "xla": False}
    entry = {"stage": "kernels", "traced": "training step", "source": source, "wall_ms": 81.0, "sum_ms": 70.0, **size}
    text = tables.table({"kernels": _run({**entry, "top": [["a|b", 3.0, 35.0, 0.5]]})}, rehearsal=False)
    section = _section(text, "Time by kernel")
    assert "kernels on the GPU (CUPTI): 70.0 ms" in section
    assert "| a\\|b | 3.0 | 35.00 | 50.0% |" in section
