"""Command of the GPU check on a machine without a GPU."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check

    return gpu_check


@pytest.mark.parametrize(("hidden", "reason"), [("-1", "CUDA_VISIBLE_DEVICES hides all GPUs"), (None, "no NVIDIA GPU")])
def test_check_without_a_gpu_ends_with_64_and_one_sentence(
    check: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    *,
    hidden: str | None,
    reason: str,
) -> None:
    monkeypatch.setattr(check, "has_nvidia_device", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert check.run_all(["--output", str(tmp_path / "out")]) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert reason in captured.err
    assert "--rehearse" in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["batch=none"], ["--rehearse", "size=4"]])
def test_invalid_arguments_end_with_64(
    check: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    assert check.run_all(["--output", str(tmp_path), *arguments]) == 64
    assert capsys.readouterr().err.count("\n") == 1


def test_given_records_replace_the_stage_that_writes_some(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[tuple[list[str], list[str]]] = []

    class Runner(check.Runner):  # type: ignore[name-defined,misc]
        def run_all(self, runs: list[object]) -> list[str]:
            started.append(([run.name for run in runs], self._given))  # type: ignore[attr-defined]
            return []

    monkeypatch.setattr(check, "Runner", Runner)
    base = ["--rehearse", "--output", str(tmp_path), "--only", "data", "smoke"]
    assert check.run_all([*base, "data=/mine"]) == 0
    monkeypatch.setenv("MASKRCNN_TEST_DATA", str(tmp_path))
    assert check.run_all(base) == 0
    assert started == [(["smoke"], ["data=/mine"]), (["data", "smoke"], [])]
    assert (tmp_path / "table.md").read_text().startswith("# Rehearsal")
