"""Report at the end of a local run, made by a fake trainer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from maskrcnn_operator.api.status import ExperimentStatus, StepState, StepStatus
from maskrcnn_operator.local.paths import LocalWorkspace
from maskrcnn_operator.local.report import ReportAction, make_report, report_action
from maskrcnn_operator.local.runner import ExperimentOutcome

from .bench import Bench, wait_for, warnings

# A hanging run must fail before CI kills pytest, which would then run no finalizers and leave processes behind.
pytestmark = pytest.mark.timeout(300)

LAST_LINE = "Report: ws/shapes/report.html"


def outcome(*states: StepState, ran: bool = False, interrupted: bool = False, exit_code: int = 0) -> ExperimentOutcome:
    steps = tuple(StepStatus(name=f"step-{number}", state=state) for number, state in enumerate(states))
    logs = {"step-0": Path("attempt-1.log")} if ran else {}
    return ExperimentOutcome(exit_code, ExperimentStatus(steps=steps), logs, interrupted=interrupted)


def test_report_is_made_if_any_step_has_results() -> None:
    mixed = outcome(StepState.SUCCEEDED, StepState.FAILED, ran=True, exit_code=1)
    assert report_action(mixed, report_time=None, result_time=1) is ReportAction.MAKE


@pytest.mark.parametrize("states", [(), (StepState.FAILED, StepState.PENDING)])
def test_there_is_no_report_without_results(states: tuple[StepState, ...]) -> None:
    assert report_action(outcome(*states, ran=True), report_time=None, result_time=1) is ReportAction.NONE


@pytest.mark.parametrize("exit_code", [130, 143, 0])
def test_there_is_no_report_after_a_signal(exit_code: int) -> None:
    stopped = outcome(StepState.SUCCEEDED, ran=True, interrupted=True, exit_code=exit_code)
    assert report_action(stopped, report_time=None, result_time=1) is ReportAction.NONE


@pytest.mark.parametrize(
    ("ran", "report_time", "result_time", "action"),
    [
        (False, 2, 1, ReportAction.KEEP),
        (True, 2, 1, ReportAction.MAKE),
        (False, 1, 1, ReportAction.MAKE),
        (False, 1, 2, ReportAction.MAKE),
        (False, None, 1, ReportAction.MAKE),
        (False, 2, None, ReportAction.MAKE),
    ],
)
def test_report_is_kept_only_if_nothing_ran_and_no_result_is_newer(
    ran: bool, report_time: int | None, result_time: int | None, action: ReportAction
) -> None:
    found = report_action(outcome(StepState.SUCCEEDED, ran=ran), report_time=report_time, result_time=result_time)
    assert found is action


@pytest.fixture
def here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return the bench whose folder is the current directory, so that paths are shown relative to it."""
    monkeypatch.chdir(bench.folder)
    return bench


def shown(bench: Bench) -> list[str]:
    """Return the lines that the command has printed."""
    return bench.output.getvalue().splitlines()


def test_run_makes_a_report_and_ends_with_its_path(here: Bench, caplog: pytest.LogCaptureFixture) -> None:
    assert here.run() == 0
    assert shown(here)[-1] == LAST_LINE
    assert [call["arguments"] for call in here.reports()] == [["report", "-r", str(here.home)]]
    assert warnings(caplog) == []


def test_path_of_the_report_is_one_line_on_a_narrow_terminal(bench: Bench) -> None:
    assert bench.run(width=20) == 0
    assert shown(bench)[-1] == f"Report: {bench.home}/report.html"


def test_report_gets_neither_gpus_nor_the_key_nor_variables_of_a_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.manifest["spec"]["encryptionKeySecretRef"] = {"name": "model-key"}
    monkeypatch.setenv("MASKRCNN_KEY", "secret")
    monkeypatch.setenv("MASKRCNN_RESULTS_DIR", "/elsewhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert bench.run() == 0
    assert [call["environment"] for call in bench.reports()] == [
        {
            "MASKRCNN_WORKSPACE": str(bench.workspace),
            "CUDA_VISIBLE_DEVICES": "-1",
            "NVIDIA_VISIBLE_DEVICES": "void",
        }
    ]


def test_experiment_with_a_failed_step_has_a_report_of_the_others(here: Bench) -> None:
    assert here.run(train=[64]) == 64
    assert shown(here)[-1] == LAST_LINE
    assert len(here.reports()) == 1


def test_experiment_without_results_has_no_report(here: Bench) -> None:
    assert here.run(**{"convert": [64], "convert-val": [64]}) == 64
    assert here.reports() == []
    assert "Report:" not in here.output.getvalue()


@pytest.mark.parametrize("train", [["ok"], [64]])
def test_failed_report_is_one_warning_and_keeps_the_exit_code(
    here: Bench, caplog: pytest.LogCaptureFixture, train: list[object]
) -> None:
    assert here.run(train=train, report=[70]) == (0 if train == ["ok"] else 64)
    assert [line for line in warnings(caplog) if "report" in line] == [
        "No report was made: exit code 70: ws/shapes: no results. To make it, run maskrcnn report -r ws/shapes"
    ]
    assert "Report:" not in here.output.getvalue()


def test_report_that_cannot_be_started_has_a_reason(tmp_path: Path) -> None:
    problem = make_report("shapes", LocalWorkspace(tmp_path), trainer=(str(tmp_path / "absent"),))
    assert problem == "the process couldn't be started: No such file or directory"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_a_report_ends_and_skips_it(bench: Bench, number: signal.Signals) -> None:
    process = bench.start({"report": ["stubborn"]})
    wait_for("the report", (bench.home / "report-started").exists, process)
    process.send_signal(number)
    output = process.communicate()[0].decode()
    assert process.returncode == 0
    assert f"No report was made: it was interrupted. To make it, run maskrcnn report -r {bench.home}" in output
    assert "Report:" not in output
    assert not bench.left()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_makes_no_report(bench: Bench, number: signal.Signals, code: int) -> None:
    process = bench.start({"train": ["wait"]})
    wait_for("train", (bench.home / "train" / "ready").exists, process)
    process.send_signal(number)
    output = process.communicate()[0].decode()
    assert process.returncode == code
    assert bench.reports() == []
    assert "eport" not in output


def test_report_ends_with_a_killed_run(bench: Bench) -> None:
    process = bench.start({"report": ["wait"]})
    wait_for("the report", (bench.home / "report-started").exists, process)
    process.kill()
    process.wait()
    wait_for("the end of the report", lambda: not bench.left())


def made_after_all_results(bench: Bench) -> None:
    """Date the report after the results, which may have the same time on a coarse clock."""
    for file in bench.home.glob("report.*"):
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))


def test_current_report_is_not_made_again(here: Bench) -> None:
    assert here.run() == 0
    made_after_all_results(here)
    assert here.run() == 0
    assert shown(here)[-1] == LAST_LINE
    assert len(here.reports()) == 1


def test_report_is_made_again_after_a_step_ran(here: Bench) -> None:
    assert here.run() == 0
    made_after_all_results(here)
    here.manifest["spec"]["steps"][3]["revision"] = "again"
    assert here.run() == 0
    assert len(here.reports()) == 2


@pytest.mark.parametrize("name", ["report.html", "report.json"])
def test_report_with_an_absent_file_is_made_again(here: Bench, name: str) -> None:
    assert here.run() == 0
    made_after_all_results(here)
    (here.home / name).unlink()
    assert here.run() == 0
    assert len(here.reports()) == 2


def test_report_older_than_a_result_is_made_again(here: Bench) -> None:
    assert here.run() == 0
    made_after_all_results(here)
    result = here.home / "evaluate" / "result.json"
    os.utime(result, ns=(0, (here.home / "report.html").stat().st_mtime_ns + 10**9))
    assert here.run() == 0
    assert len(here.reports()) == 2


def test_report_of_a_step_is_in_the_status_and_logged(here: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="maskrcnn_operator")
    assert here.run() == 0
    assert here.step("evaluate")["reportPath"] == "/workspace/shapes/evaluate/report.html"
    assert "step evaluate: report ws/shapes/evaluate/report.html" in [line.getMessage() for line in caplog.records]
