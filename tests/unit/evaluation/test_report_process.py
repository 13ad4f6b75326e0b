"""Report at the end of an evaluation: made, refused, failed, or stopped, and never a failure of the evaluation."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.unit.report import made_experiment

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.evaluation.report_process import MAKER, command_of, make_report, needed_memory
from maskrcnn_trainer.shared.variables import WORKSPACE_URL_VARIABLE, WORKSPACE_VARIABLE
from maskrcnn_trainer.task.stopping import StopRequest

NUMBERS, PAGE = (
    b'{"generator":"maskrcnn-operator","title":"',
    b'<!doctype html>\n<html lang="en"><head><meta name="generator" content="maskrcnn-operator">',
)
FILES = ("report.html", "report.json")
MIB = 1 << 20

Make = Callable[..., Path | None]


@pytest.fixture
def results_dir(tmp_path: Path) -> Path:
    return made_experiment.make_experiment(tmp_path / "ws") / "evaluate"


@pytest.fixture
def make(results_dir: Path, tmp_path: Path) -> Make:
    def made(
        maker: Sequence[str] = MAKER,
        *,
        stop: StopRequest | None = None,
        before_write: Callable[[], None] = lambda: None,
        cgroup_root: Path = tmp_path / "absent",
    ) -> Path | None:
        annotations = results_dir.parents[1] / "raw" / "val.json"
        return make_report(
            results_dir,
            annotations,
            stop=stop or StopRequest(),
            before_write=before_write,
            maker=maker,
            cgroup_root=cgroup_root,
        )

    return made


def python(program: str) -> list[str]:
    """Return a command in place of ``maskrcnn report``; its -o is in ``sys.argv[-1]``."""
    return [sys.executable, "-c", program]


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.levelno == logging.WARNING
    return record.getMessage()


def test_report_of_the_command_is_in_the_results_directory(make: Make, results_dir: Path) -> None:
    assert make() == results_dir / "report.html"
    assert (results_dir / "report.html").read_bytes().startswith(PAGE)
    assert (results_dir / "report.json").read_bytes().startswith(NUMBERS)


def test_failed_report_is_one_warning_with_its_reason_and_the_command(
    make: Make, results_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing = "import sys; print('12:00:00 ERROR   metrics.json is too large.', file=sys.stderr); sys.exit(64)"
    assert make(python(failing)) is None
    assert one_warning(caplog) == (
        f"No report was made: metrics.json is too large. To make one: maskrcnn report -r {results_dir}"
    )
    assert not [name for name in FILES if (results_dir / name).exists()]


def test_command_of_a_workspace_in_object_storage_has_the_url_and_an_output(
    results_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(results_dir.parents[1]))
    assert command_of(results_dir) == f"maskrcnn report -r {results_dir}"
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://lab/ws")
    assert command_of(results_dir) == "maskrcnn report -r s3://lab/ws/shapes/evaluate -o evaluate-report.html"


def test_report_in_a_working_directory_is_named_by_its_path_in_the_workspace(
    make: Make, results_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(results_dir.parents[1]))
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://lab/ws")
    caplog.set_level(logging.INFO)
    writes = "import pathlib, sys; [pathlib.Path(sys.argv[-1]).with_suffix(s).touch() for s in ('.html', '.json')]"
    assert make(python(writes)) == results_dir / "report.html"
    assert caplog.messages[-1] == "Report: /workspace/shapes/evaluate/report.html"


def test_killed_report_names_the_signal(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert make(python("import os; print('Reading', flush=True); os.kill(os.getpid(), 9)")) is None
    assert "its process ended with SIGKILL" in one_warning(caplog)


def test_report_without_the_command_is_a_warning(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert make(["/absent/maskrcnn"]) is None
    assert "/absent/maskrcnn" in one_warning(caplog)


def test_report_of_an_earlier_evaluation_does_not_outlive_a_failed_one(make: Make, results_dir: Path) -> None:
    assert make() is not None
    assert make(python("import sys; sys.exit(1)")) is None
    assert not [name for name in FILES if (results_dir / name).exists()]


@pytest.mark.parametrize("name", FILES)
def test_file_of_the_user_is_left(make: Make, results_dir: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    (results_dir / name).write_text("mine")
    assert make() is None
    assert (results_dir / name).read_text() == "mine"
    assert f"{name} isn't a report" in one_warning(caplog)


@pytest.mark.parametrize("name", FILES)
def test_link_of_the_user_is_left(make: Make, results_dir: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(PAGE)
    (results_dir / name).symlink_to(target)
    assert make() is None
    assert target.read_bytes() == PAGE
    assert (results_dir / name).is_symlink()


def test_report_that_needs_more_memory_than_is_left_is_not_started(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "memory.max").write_text(str(600 * MIB))
    (tmp_path / "memory.current").write_text(str(400 * MIB))
    assert make(python("raise AssertionError"), cgroup_root=tmp_path) is None
    assert "MiB of memory, and 200 MiB are left" in one_warning(caplog)


def test_needed_memory_grows_with_the_detections() -> None:
    assert needed_memory(100 * MIB) - needed_memory(MIB) > 99 * MIB
    assert needed_memory(0) > 128 * MIB


def test_memory_of_the_report_is_limited_to_what_the_container_has_left(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "memory.max").write_text(str(2000 * MIB))
    (tmp_path / "memory.current").write_text("0")
    # the limit is set after the start of the process
    hungry = (
        "import resource, sys, time\n"
        "waits = 3000\n"
        "while waits and resource.getrlimit(resource.RLIMIT_DATA)[0] < 0: waits -= 1; time.sleep(0.01)\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA)); sys.exit(1)"
    )
    assert make(python(hungry), cgroup_root=tmp_path) is None
    assert f"({2000 * MIB}, {2000 * MIB})" in one_warning(caplog)


def test_stop_ends_the_report_and_not_the_evaluation(
    make: Make, results_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # the parent is stopped once the child runs
    sleeping = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGTERM); time.sleep(600)"
    with StopRequest() as stop:
        assert make(python(sleeping), stop=stop) is None
    assert one_warning(caplog).startswith("No report was made: a stop was requested. To make one: maskrcnn report")


def test_process_that_ignores_a_stop_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("maskrcnn_trainer.evaluation.report_process.SECONDS_TO_END", 0.2)
    number = tmp_path / "number"
    deaf = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(number)!r}, 'w').write(str(os.getpid()))\n"
        f"os.kill({os.getpid()}, signal.SIGTERM); time.sleep(600)"
    )
    with StopRequest() as stop:
        assert make(python(deaf), stop=stop) is None
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), signal.SIGCONT)


def test_run_that_lost_its_directory_writes_no_report(make: Make, results_dir: Path) -> None:
    def taken_over() -> None:
        raise TryAgain("another run has taken over")

    assert make(before_write=taken_over) is None
    assert not [name for name in FILES if (results_dir / name).exists()]


def test_full_disk_leaves_neither_file(make: Make, results_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskrcnn_trainer.evaluation import report_process

    written = report_process.write_atomically

    def full(path: Path, payload: bytes, *, before_rename: Callable[[], None]) -> None:
        if path.name == "report.html":
            raise OSError(28, "No space left on device", str(path))
        written(path, payload, before_rename=before_rename)

    monkeypatch.setattr(report_process, "write_atomically", full)
    assert make() is None
    assert not [name for name in FILES if (results_dir / name).exists()]


def test_signal_without_a_name_is_a_warning_too(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert make(["sh", "-c", "kill -40 $$"]) is None
    assert "its process ended with signal 40" in one_warning(caplog)


def test_modules_of_the_working_directory_are_not_run(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert make() is not None


def test_report_fits_into_the_memory_that_it_is_expected_to_need(make: Make, results_dir: Path, tmp_path: Path) -> None:
    read = (results_dir / "detections.json").stat().st_size
    (tmp_path / "memory.max").write_text(str(needed_memory(read) + MIB))
    (tmp_path / "memory.current").write_text("0")
    assert make(cgroup_root=tmp_path) is not None
