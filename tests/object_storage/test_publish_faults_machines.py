"""Two machines on one prefix, a status that was removed, full disks, and clocks that are off by an hour."""

from __future__ import annotations

import email.utils
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.object_storage.attempt_host import Times
from tests.object_storage.begun_steps import OF_OTHER_MACHINE, TAKE_OVER
from tests.object_storage.conftest import GetServer
from tests.object_storage.fault_bench import IN_STEP, POINTER, STEPS, FaultBench, Place, Trial
from tests.object_storage.fault_table import FaultCase, FaultTable, run_cases
from tests.object_storage.forked_attempts import AttemptHost, ForkedAttempt
from tests.object_storage.proxy import Answer
from tests.object_storage.store_reader import seen
from tests.object_storage.user_stores import UserStore

HOUR = 3600
AN_HOUR_UNTIL_DELETION = Times(until_deletion=HOUR)


def refused(attempt: ForkedAttempt, reason: str, part: str) -> None:
    """Check that an attempt is refused with 64, a reason, and a message with a part."""
    code = attempt.wait()
    assert code == 64, attempt.printed
    error = attempt.launch.message()["error"]
    assert error["reason"] == reason
    assert part in error["message"]


def ends_with_75(attempt: ForkedAttempt) -> dict[str, Any]:
    """Check that an attempt ends with 75 as superseded, and return its error."""
    code = attempt.wait()
    assert code == 75, attempt.printed
    error: dict[str, Any] = attempt.launch.message()["error"]
    assert error["reason"] == "Superseded"
    return error


def test_second_machine_takes_over_once(bench: FaultBench, fault_table: FaultTable) -> None:
    """The first one then ends with 75, and the second one continues from what it had published."""

    def run(trial: Trial) -> None:
        releases = [trial.directory / name for name in ("release-first", "release-second")]
        first = trial.start(1, (*IN_STEP, "--hold-at", "2", "--release", str(releases[0])))
        first.wait_until_it_holds()
        before = seen(trial.step)
        refused(trial.start(7, **OF_OTHER_MACHINE), "AnothersOwner", "lab/1")
        assert seen(trial.step).published == before.published, "a refused machine has changed the step"
        hold = ("--hold-at", str(STEPS), "--release", str(releases[1]))
        second = trial.start(7, (*IN_STEP, *hold), **OF_OTHER_MACHINE, **TAKE_OVER)
        second.wait_until_it_holds()
        releases[0].touch()
        assert "laterAttempt" not in ends_with_75(first)
        assert seen(trial.step).attempts == (1, 1, 7)
        refused(trial.start(2), "AnothersOwner", "other/2")
        refused(trial.start(2, **TAKE_OVER), "AnothersOwner", "other/2")
        releases[1].touch()
        trial.ends_right(second, (1, 1, 7))

    run_cases(fault_table, "moto", "a second machine takes over", [FaultCase("", bench.case(run))])


def test_attempt_after_removed_status_gets_through(bench: FaultBench, fault_table: FaultTable) -> None:
    """Attempts are counted from 1 again, with the same uid, and the one above that of the pointer continues."""

    def run(trial: Trial) -> None:
        for number in (1, 2):
            attempt = trial.start(number, (*IN_STEP, "--hold-at", str(number)))
            attempt.wait_until_it_holds()
            attempt.kill()
        before = seen(trial.step)
        assert before.attempts == (1, 2)
        again = trial.start(1)
        assert ends_with_75(again)["laterAttempt"] == 2
        assert seen(trial.step) == before
        trial.finish(3, before)

    run_cases(fault_table, "moto", "a status was removed", [FaultCase("", bench.case(run))])


@contextmanager
def small_disk(directory: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of a size, or skip the test where that isn't permitted."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(directory)]
    unmount = ["umount", "-l", str(directory)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs can't be mounted: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(unmount, check=True)


def ends_with_70(attempt: ForkedAttempt) -> None:
    """Check that an attempt ends because of a full disk."""
    code = attempt.wait()
    assert code == 70, attempt.printed
    assert attempt.launch.message()["error"]["reason"] == "WorkspaceFull"


LARGE = (*IN_STEP, "--size", "200000")


def test_disk_that_is_full_while_training(bench: FaultBench, fault_table: FaultTable, tmp_path: Path) -> None:
    """The third checkpoint has no room; the two before it are published, and continued on a larger disk."""
    with small_disk(tmp_path / "small", 560) as disk, bench.trial() as trial:

        def run() -> None:
            ends_with_70(trial.start(1, LARGE, working_dir=disk))
            before = seen(trial.step)
            assert before.attempts == (1, 1)
            trial.finish(2, before, LARGE)

        run_cases(fault_table, "moto", "a disk (tmpfs) full while training", [FaultCase("", run)])


def test_disk_that_is_full_while_restoring(bench: FaultBench, fault_table: FaultTable, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 300) as disk, bench.trial() as trial:

        def run() -> None:
            before = trial.kill_at(Place(POINTER, 3), passed_on=True, options=LARGE)
            assert before.attempts == (1, 1)
            ends_with_70(trial.start(2, LARGE, working_dir=disk))
            claimed = seen(trial.step)
            assert (claimed.attempt, claimed.current) == (2, before.current)
            trial.finish(3, claimed, LARGE)

        run_cases(fault_table, "moto", "a disk (tmpfs) full while restoring", [FaultCase("", run)])


def test_disk_that_is_filled_while_a_task_runs(bench: FaultBench, fault_table: FaultTable, tmp_path: Path) -> None:
    """Another program fills the disk to its last page, so that no snapshot finds room."""
    with small_disk(tmp_path / "small", 2000) as disk, bench.trial() as trial:

        def run() -> None:
            release = trial.directory / "release"
            hold = ("--hold-at", "2", "--release", str(release))
            attempt = trial.start(1, (*LARGE, *hold), working_dir=disk)
            attempt.wait_until_it_holds()
            with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
            release.touch()
            ends_with_70(attempt)
            before = seen(trial.step)
            assert before.attempts == (1, 1)
            trial.finish(2, before, LARGE)

        run_cases(fault_table, "moto", "a disk (tmpfs) filled by another program", [FaultCase("", run)])


def at_another_time(answer: Answer, seconds: int) -> Answer:
    """Return the answer of a store whose clock differs from that of this machine."""

    def shifted(found: re.Match[str]) -> str:
        moved = datetime.fromisoformat(found[1]).astimezone(UTC) + timedelta(seconds=seconds)
        return f"<LastModified>{moved.strftime('%Y-%m-%dT%H:%M:%S.000Z')}</LastModified>"

    headers = dict(answer.headers)
    for name, value in answer.headers.items():
        if name.lower() in ("date", "last-modified"):
            moved = email.utils.parsedate_to_datetime(value) + timedelta(seconds=seconds)
            headers[name] = email.utils.format_datetime(moved, usegmt=True)
    body = re.sub("<LastModified>(.*?)</LastModified>", shifted, answer.body.decode("latin1")).encode("latin1")
    return replace(answer, headers=headers, body=body)


@pytest.mark.parametrize("seconds", [HOUR + 60, -HOUR - 60], ids=["ahead", "behind"])
def test_store_whose_clock_differs_by_an_hour(bench: FaultBench, fault_table: FaultTable, seconds: int) -> None:
    """The store's times are compared with each other alone: nothing is deleted before its hour has passed."""

    def run(trial: Trial) -> None:
        trial.proxy.answers = lambda answer: at_another_time(answer, seconds)
        before = trial.kill_at(Place(POINTER, 4), passed_on=True, times=AN_HOUR_UNTIL_DELETION)
        assert before.attempts == (1, 1, 1)[: len(before.attempts)]
        trial.finish(2, before, times=AN_HOUR_UNTIL_DELETION)
        assert not [place for place in trial.places() if place.text.startswith("DELETE exp/train")]

    where = "ahead of" if seconds > 0 else "behind"
    cases = [FaultCase("", bench.case(run))]
    run_cases(fault_table, "moto", f"the store's clock an hour {where} this machine's", cases)


@pytest.mark.parametrize("seconds", [HOUR + 60, -HOUR - 60], ids=["forward", "back"])
def test_store_whose_clock_jumps_by_an_hour(
    get_server: GetServer,
    attempts: AttemptHost,
    fault_table: FaultTable,
    tmp_path: Path,
    seconds: int,
) -> None:
    """Garbage that was listed before a jump forward is deleted, and none after a jump back; no set misses an object."""
    server = get_server("gcs")
    bench = FaultBench(UserStore(server, server.new_container(), tmp_path), attempts, tmp_path)

    def run(trial: Trial) -> None:
        release = trial.directory / "release"
        # the third cleaning finds what the second one has listed, and the fourth deletes it
        options = ("--steps", "4", "--every", "1", "--in-step", "--hold-at", "3", "--release", str(release))
        attempt = trial.start(1, options, times=AN_HOUR_UNTIL_DELETION)
        attempt.wait_until_it_holds()
        assert server.shift_clock is not None
        server.shift_clock(seconds)
        release.touch()
        try:
            trial.ends_right(attempt, (1,) * 4)
        finally:
            server.shift_clock(0)
        deleted = [place for place in trial.places() if place.text.startswith("DELETE exp/train")]
        assert bool(deleted) == (seconds > 0)

    way = "forward" if seconds > 0 else "back"
    cases = [FaultCase("", bench.case(run))]
    run_cases(fault_table, "gcs", f"the store's clock jumps {way} by an hour", cases)
