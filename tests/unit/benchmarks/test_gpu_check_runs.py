"""Child processes of the GPU check, and the file of their results."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]

STAGES = """\
import os, sys
stage = sys.argv[1]
with open(os.environ["STARTED"], "a") as file:
    file.write(stage + "\\n")
print("RESULT " + '{"stage": "%s", "gpus": "%s"}' % (stage, os.environ.get("CUDA_VISIBLE_DEVICES")), flush=True)
if stage == "nms":
    print("the reason", file=sys.stderr)
    os.abort()
"""


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (tmp_path / "stages.py").write_text(STAGES)
    import gpu_check_runs

    return gpu_check_runs


def _check(processes: ModuleType, folder: Path, lines: list[str], only: list[str], **options: bool) -> list[str]:
    from gpu_check_plan import chosen_runs

    runner = processes.Runner(folder / "stages.py", folder, [], show=lines.append, **options)
    failed: list[str] = runner.run_all(chosen_runs(only))
    return failed


def _started(folder: Path) -> list[str]:
    return (folder / "started").read_text().split()


def test_results_are_the_marked_lines_that_are_complete(processes: ModuleType) -> None:
    lines = ["RESULT {", 'RESULT {"a": 1}', "a RESULT {}", 'RESULT {"a": 2}']
    assert processes.results_in(lines) == [{"a": 1}, {"a": 2}]


def test_results_of_the_last_start_count(processes: ModuleType) -> None:
    entries = [
        {"run": "a", "started": 1},
        {"run": "a", "value": 1},
        {"run": "b", "started": 1},
        {"run": "a", "started": 2},
    ]
    assert processes.completed_runs(entries) == {"a": [entries[3]], "b": [entries[2]]}


def test_run_that_fails_ends_alone(processes: ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    assert _check(processes, tmp_path, lines, ["nms", "horovod"]) == ["nms"]
    assert _started(tmp_path) == ["nms", "horovod"]
    runs = processes.ResultsFile(tmp_path / "results.jsonl").runs()
    assert [entry.get("ended") for entry in runs["nms"]] == [None, None, -6]
    assert runs["nms"][1] == {"run": "nms", "stage": "nms", "gpus": "0"}
    assert runs["horovod"][-1]["ended"] == 0
    assert any("the reason" in line for line in lines)


def test_run_with_results_is_skipped_unless_it_is_repeated(processes: ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    for options in ({}, {}, {"again": True}):
        _check(processes, tmp_path, lines, ["horovod", "nms"], **options)
    # the failed run has no results, so it is repeated in any case
    assert _started(tmp_path) == ["nms", "horovod", "nms", "nms", "horovod"]
    assert sum("skipped" in line for line in lines) == 1


def test_run_with_other_arguments_is_repeated(processes: ModuleType, tmp_path: Path) -> None:
    _check(processes, tmp_path, [], ["horovod"])
    _check(processes, tmp_path, [], ["horovod"], rehearsal=True)
    assert _started(tmp_path) == ["horovod", "horovod"]


def test_gpus_are_hidden_from_a_rehearsal_and_from_runs_on_the_cpu(processes: ModuleType, tmp_path: Path) -> None:
    _check(processes, tmp_path, [], ["smoke"], rehearsal=True)
    _check(processes, tmp_path, [], ["parity-cpu", "parity-gpu"])
    runs = processes.ResultsFile(tmp_path / "results.jsonl").runs()
    assert {name: entries[1]["gpus"] for name, entries in runs.items()} == {
        "smoke": "-1",
        "parity-cpu": "-1",
        "parity-gpu": "0",
    }


def test_rehearsal_does_not_repeat_an_equal_run(processes: ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    _check(processes, tmp_path, lines, ["train-fp32", "train-amp"], rehearsal=True)
    assert _started(tmp_path) == ["train"]
    assert any("train-fp32 at these sizes, skipped" in line for line in lines)


def test_run_without_time_is_left_out(processes: ModuleType, tmp_path: Path) -> None:
    from gpu_check_plan import chosen_runs

    lines: list[str] = []
    runner = processes.Runner(tmp_path / "stages.py", tmp_path, [], limit=1.0, show=lines.append)
    assert runner.run_all(chosen_runs(["smoke"])) == []
    assert "left out" in lines[0]
    assert not (tmp_path / "started").exists()


def test_time_limit_ends_a_command_with_its_children(processes: ModuleType, tmp_path: Path) -> None:
    child = f"echo $$ > {tmp_path}/child; exec sleep 600"
    command = ["/bin/sh", "-c", f"/bin/sh -c '{child}' & wait"]
    assert processes.run_command(command, tmp_path / "log", 2.0, {}) == "time limit"
    number = int((tmp_path / "child").read_text())
    for _ in range(400):
        if not _is_running(number):
            break
        time.sleep(0.05)
    assert not _is_running(number)


def _is_running(number: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


def test_stages_run_without_site_if_this_process_does(processes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.python() == [sys.executable]

    class Flags:
        no_site = 1

    monkeypatch.setattr(processes.sys, "flags", Flags())
    assert processes.python() == [sys.executable, "-S"]
