"""Exit code of a worker group, and the end of all processes when one is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.launch.processes import (
    POLL_SECONDS,
    SECONDS_AFTER_TERM,
    SECONDS_FOR_PEERS,
    Ended,
    NodeProcesses,
    is_told_by_rank_zero,
    most_telling,
)
from maskrcnn_trainer.task.publication import LaunchPublication


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ([Ended(0, 0), Ended(1, 0)], None),
        ([Ended(1, 75), Ended(0, 64)], 64),
        ([Ended(0, 143), Ended(1, 143)], 143),
        # a stopped task is retried, which doesn't help against invalid data
        ([Ended(0, 143), Ended(1, 64)], 64),
        ([Ended(1, 1), Ended(0, 143)], 143),
        ([Ended(0, 75), Ended(1, 137)], 137),
        ([Ended(0, 75), Ended(1, 75)], 75),
        ([Ended(0, 70), Ended(1, 75)], 70),
        ([Ended(1, 3), Ended(0, 143, by_us=True), Ended(2, 137, by_us=True)], 3),
    ],
)
def test_exit_code_of_the_launch_is_the_most_specific(ended: list[Ended], code: int | None) -> None:
    telling = most_telling(ended)
    assert (telling.code if telling else None) == code


StartGroup = Callable[..., NodeProcesses]


@pytest.fixture
def group() -> Iterator[StartGroup]:
    """Start one process for each source; kill those that still run at the end of the test."""
    # all processes have the same command, so each gets its source from its own variable
    program = "import os; exec(os.environ['SOURCE'])"
    started: list[NodeProcesses] = []

    def start(*sources: str) -> NodeProcesses:
        environments = {rank: {"SOURCE": source} for rank, source in enumerate(sources)}
        started.append(NodeProcesses.start([sys.executable, "-c", program], environments))
        return started[-1]

    yield start
    for processes in started:
        processes.kill()
        processes.wait()


def wait_for(files: list[Path], seconds: float = 60.0, *, filled: bool = False) -> None:
    deadline = time.monotonic() + seconds
    while missing := [file.name for file in files if not file.exists() or (filled and not file.stat().st_size)]:
        assert time.monotonic() < deadline, f"{missing} did not appear"
        time.sleep(0.01)


def codes(ended: list[Ended]) -> dict[int, int]:
    return {entry.rank: entry.code for entry in ended}


def test_all_done(group: StartGroup) -> None:
    assert codes(group("", "").wait()) == {0: 0, 1: 0}


def test_stop_runs_the_signal_handler_of_every_process_and_its_code_counts(group: StartGroup, tmp_path: Path) -> None:
    ready = [tmp_path / "ready-0", tmp_path / "ready-1"]
    # no signal gives exit code 7, so the code can only come from the handler
    source = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "pathlib.Path({!r}).touch()\n"
        "time.sleep(60)"
    )
    processes = group(*(source.format(str(file)) for file in ready))
    wait_for(ready)
    processes.stop()
    ended = processes.wait()
    # by_us would mean that the stop missed a process, which was then ended after the failure of the other
    assert set(ended) == {Ended(0, 7, by_us=False), Ended(1, 7, by_us=False)}
    telling = most_telling(ended)
    assert telling is not None
    assert telling.code == 7


def test_a_killed_process_takes_the_others_with_it_even_those_that_ignore_it(
    group: StartGroup, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ready = tmp_path / "ready"
    stubborn = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)"
    )
    dying = (
        "import os, pathlib, signal, time\n"
        f"while not pathlib.Path({str(ready)!r}).exists(): time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = group(stubborn, dying).wait()
    assert codes(ended) == {0: 137, 1: 137}
    telling = most_telling(ended)
    assert telling == Ended(1, 137)
    assert "Process 1 was killed by signal 9, probably because memory ran out. Try a smaller imageSize" in caplog.text
    assert "Process 0 was killed" not in caplog.text


FATAL = {
    "E external/local_xla/xla/stream_executor/cuda/cuda_event.cc:49] Error polling for event status: failed to query "
    "event: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered": (75, "DeviceFailed"),
    "F tensorflow/core/common_runtime/device/device_event_mgr.cc:223] Unexpected Event status: 1": (134, None),
    "F external/local_xla/xla/stream_executor/cuda/cuda_blas.cc:9] CUBLAS_STATUS_ALLOC_FAILED": (64, "OutOfMemory"),
    "I external/local_xla/xla/a.cc:1] CUDA_ERROR_ECC_UNCORRECTABLE: an older message": (134, None),
}


@pytest.mark.parametrize(("line", "end"), FATAL.items(), ids=[line[:60] for line in FATAL])
def test_process_that_a_library_aborted_ends_with_the_code_of_its_cause(
    tmp_path: Path, line: str, end: tuple[int, str | None]
) -> None:
    """TensorFlow aborts the process on many errors of the driver, so that Python sees no exception."""
    kept = KeptLog(tmp_path / "attempt-1.node-0.log", lambda: True)
    program = f"import os, sys; print({'2026-05-02 09:12:45.301125: ' + line!r}, file=sys.stderr); os.abort()"
    (ended,) = NodeProcesses.start([sys.executable, "-c", program], {0: {}}, kept).wait()
    kept.close()
    assert (ended.code, ended.failure.reason if ended.failure else None) == end
    # it has written no report, so the launcher writes it
    assert is_told_by_rank_zero([ended], ended) is (end[1] is None)


def test_memory_that_cpp_cannot_allocate_is_out_of_memory(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path / "attempt-1.node-0.log", lambda: True)
    output = "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc"
    program = f"import os, sys; print({output!r}, file=sys.stderr, flush=True); os.abort()"
    ended = NodeProcesses.start([sys.executable, "-c", program], {0: {}, 1: {}}, kept).wait()
    kept.close()
    assert codes(ended) == {0: 64, 1: 64}


def test_the_grace_periods_keep_the_promise_of_ten_seconds() -> None:
    assert SECONDS_FOR_PEERS + SECONDS_AFTER_TERM + 2 * POLL_SECONDS < 10.0


def test_each_has_its_own_variables_on_top_of_ours(group: StartGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    ended = group("import sys; sys.exit(int(os.environ['OURS']) + 4)", "").wait()
    assert codes(ended) == {0: 5, 1: 0}
    assert os.environ.get("SOURCE") is None


@pytest.mark.parametrize("kept", [False, True])
def test_killed_launcher_leaves_no_process_alive(tmp_path: Path, kept: bool) -> None:
    child = (
        "import os, pathlib, time\n"
        "pathlib.Path(os.environ['FOLDER'], os.environ['HERE']).write_text(str(os.getpid()))\n"
        "time.sleep(600)"
    )
    launcher = (
        "import pathlib, sys\n"
        "from maskrcnn_trainer.launch.logs import KeptLog\n"
        "from maskrcnn_trainer.launch.processes import NodeProcesses\n"
        "kept = KeptLog(pathlib.Path(sys.argv[1]), lambda: True) if len(sys.argv) > 2 else None\n"
        "variables = {rank: {'HERE': str(rank)} for rank in range(2)}\n"
        f"NodeProcesses.start([sys.executable, '-c', {child!r}], variables, kept).wait()"
    )
    command = [sys.executable, "-c", launcher, str(tmp_path / "log"), *["kept"] * kept]
    process = subprocess.Popen(command, env={**os.environ, "FOLDER": str(tmp_path)})
    files = [tmp_path / "0", tmp_path / "1"]
    try:
        wait_for(files, filled=True)
    finally:
        process.kill()
        process.wait()
    children = [int(file.read_text()) for file in files]
    deadline = time.monotonic() + 60.0
    while alive := [number for number in children if Path(f"/proc/{number}/exe").exists() and not is_zombie(number)]:
        if time.monotonic() > deadline:
            for number in alive:
                os.kill(number, signal.SIGKILL)
            raise AssertionError(f"{alive} outlived the launcher")
        time.sleep(0.01)


def is_zombie(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


REFUSED = (
    "from maskrcnn_trainer.errors import InvalidInput, TryAgain\n"
    "from maskrcnn_trainer.spec.task_name import TaskName\n"
    "from maskrcnn_trainer.task.reporter import task_report\n"
    "from maskrcnn_trainer.task.log_setup import setup_logging\n"
    "setup_logging({rank})\n"
    "with task_report(TaskName.TRAIN, {folder!r}, rank={rank}):\n"
    "    raise {error}"
)


def test_failure_that_another_process_had_first_is_not_logged_again_after_rank_zero(
    group: StartGroup, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tmp_path / "done"
    # rank 0 fails once the launcher has seen the failure of rank 1
    monkeypatch.setattr(NodeProcesses, "_collect", collecting_then(done.touch, rank=1))
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(done)!r}).exists(): time.sleep(0.01)\n"
    refused = [REFUSED.format(rank=rank, folder=str(tmp_path), error="InvalidInput('seed: wrong')") for rank in (0, 1)]
    assert [entry.rank for entry in group(wait + refused[0], refused[1]).wait()] == [1, 0]
    assert [record.message for record in caplog.records] == []


def collecting_then(act: Callable[[], object], *, rank: int) -> Callable[[NodeProcesses], None]:
    """Return a ``_collect`` that calls ``act`` after the process of a rank has ended."""
    collect = NodeProcesses._collect

    def collecting(processes: NodeProcesses) -> None:
        collect(processes)
        if any(entry.rank == rank for entry in processes._ended):
            act()

    return collecting


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        (["InvalidInput('seed: wrong')"] * 3, []),
        (["InvalidInput('seed: wrong')", "TryAgain('lost a peer')", "TryAgain('lost a peer')"], []),
        (["TryAgain('lost a peer')", "InvalidInput('no disk here')", "InvalidInput('no disk here')"], ["no disk here"]),
        (["TryAgain('lost a peer')", "TryAgain('lost a peer')", "InvalidInput('no disk here')"], ["no disk here"]),
    ],
    ids=["all", "rank 0 alone", "two others", "one other"],
)
def test_failure_of_several_processes_is_reported_once(
    group: StartGroup,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    *,
    errors: list[str],
    told: list[str],
) -> None:
    sources = [REFUSED.format(rank=rank, folder=str(tmp_path), error=error) for rank, error in enumerate(errors)]
    ended = group(*sources).wait()
    # caplog has the launcher's own lines
    said = [line for line in capfd.readouterr().err.splitlines() if line.strip() and " Process " not in line]
    assert len(said) == 1, said  # rank 0 logs its own failure
    assert errors[0].partition("'")[2].partition("'")[0] in said[0]
    assert [record.message.partition(": ")[2] for record in caplog.records] == told
    telling = most_telling(ended)
    assert telling is not None
    assert telling.code == 64


def test_abandoned_processes_are_killed_and_do_not_count(group: StartGroup, tmp_path: Path) -> None:
    up = tmp_path / "up"
    ignoring = (
        "import pathlib, signal, time; signal.signal(15, signal.SIG_IGN); "
        f"pathlib.Path({str(up)!r}).touch(); time.sleep(600)"
    )
    processes = group(ignoring, "import time; time.sleep(600)")
    wait_for([up])
    threading.Timer(0.1, processes.abandon).start()
    ended = processes.wait()
    assert codes(ended) == {0: 137, 1: 137}
    assert most_telling(ended) is None


def test_only_rank_0_gets_the_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_PUBLICATION_FD", "99")
    source = (
        "import os, pathlib; from maskrcnn_trainer.task.publication import inherited_descriptor as found; "
        "named = os.environ.get('MASKRCNN_PUBLICATION_FD'); "
        "pathlib.Path(os.environ['FILE']).write_text(f'{found() is not None} {named}')"
    )
    files = [tmp_path / "0", tmp_path / "1"]
    channel = LaunchPublication.open()
    environments = {rank: {"FILE": str(file)} for rank, file in enumerate(files)}
    NodeProcesses.start([sys.executable, "-c", source], environments, None, channel.descriptor).wait()
    assert [file.read_text() for file in files] == [f"True {channel.descriptor}", "False None"]
    channel.close()
