"""Tests of the thread that publishes a results directory."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.unit.publishing.file_store import FileStore, Outage, claimed, write_file, write_result

from maskrcnn_trainer.errors import InvalidInput, Stopped, Superseded, TaskError, TryAgain
from maskrcnn_trainer.object_store.fence.exchange_types import FenceRequest, ListKeys, PutFiles, PutRecord, UpdateRecord
from maskrcnn_trainer.object_store.fence.records import PublishedSet
from maskrcnn_trainer.publishing import step_publisher
from maskrcnn_trainer.publishing.published_files import UnpublishableResults
from maskrcnn_trainer.publishing.snapshot import Snapshots
from maskrcnn_trainer.publishing.step_publisher import StepPublisher

CHECKPOINT, LATER, LAST = (f"model.step-{step}.tlt" for step in (1, 2, 3))
LONG = 20.0
"""Seconds for what happens at once."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_publisher, "SECONDS_BEFORE_RETRY", 0.05)
    monkeypatch.setattr(step_publisher, "SECONDS_BEFORE_LAST_RETRY", 0.05)


class Gate:
    """Request of a kind that waits until it is let through, or until it is interrupted."""

    def __init__(self, kind: type, interrupted: threading.Event) -> None:
        self.kind = kind
        self.interrupted = interrupted
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, request: FenceRequest) -> None:
        """Wait for a request of the kind."""
        if not isinstance(request, self.kind):
            return
        self.reached.set()
        while not self.open.wait(0.01):
            if self.interrupted.is_set():
                raise Stopped("interrupted")


class Bed:
    """Publisher of a directory, and what it has reported."""

    def __init__(self, directory: Path, every_seconds: float | None = None) -> None:
        self.results = directory / "train"
        self.results.mkdir()
        self.store = FileStore()
        self.session = claimed(self.store)
        self.interrupted = threading.Event()
        self.superseded: list[TaskError] = []
        self.published: list[PublishedSet] = []
        self.publisher = StepPublisher(
            self.session,
            self.results,
            on_superseded=self.superseded.append,
            on_published=self.published.append,
            every_seconds=every_seconds,
            interrupted=self.interrupted,
        )

    def checkpoint(self, path: str, content: str = "x") -> None:
        """Write a checkpoint, and announce it."""
        write_file(self.results, path, content)
        self.publisher.checkpoint(1)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + LONG
        while not condition():
            assert time.monotonic() < end, "it didn't happen in time"
            time.sleep(0.005)

    def wait_for_publishes(self, number: int) -> None:
        """Wait until a number of sets were published."""
        self.wait_for(lambda: len(self.published) >= number)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    found = Bed(tmp_path)
    with found.publisher:
        yield found


def test_announced_checkpoint_is_published(bed: Bed) -> None:
    bed.checkpoint(CHECKPOINT)
    bed.wait_for_publishes(1)
    assert bed.published[0].checkpoints == (CHECKPOINT,)


def test_published_snapshot_is_removed(bed: Bed) -> None:
    bed.checkpoint(CHECKPOINT)
    bed.wait_for_publishes(1)
    assert list((bed.results.parent / ".train.snapshots").iterdir()) == []


def test_nothing_is_requested_at_rest(bed: Bed) -> None:
    bed.checkpoint(CHECKPOINT)
    bed.wait_for(lambda: bool(bed.store.requests(ListKeys)))
    time.sleep(0.05)
    before = len(bed.store.memory.requests)
    time.sleep(0.3)
    assert len(bed.store.memory.requests) == before


def test_newest_waiting_checkpoint_replaces_the_one_that_waits(bed: Bed) -> None:
    gate = Gate(PutFiles, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT)
    assert gate.reached.wait(LONG)
    bed.checkpoint(LATER)
    bed.checkpoint(LAST)
    gate.open.set()
    bed.wait_for_publishes(2)
    time.sleep(0.1)
    assert [published.checkpoints[-1] for published in bed.published] == [CHECKPOINT, LAST]


def test_checkpoint_in_flight_is_uploaded_though_the_training_removes_it(bed: Bed) -> None:
    gate = Gate(PutFiles, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT, "one")
    assert gate.reached.wait(LONG)
    (bed.results / CHECKPOINT).unlink()
    gate.open.set()
    bed.wait_for_publishes(1)
    assert bed.store.contents() == {CHECKPOINT: b"one"}


def test_snapshots_are_bounded_in_number(bed: Bed) -> None:
    gate = Gate(PutFiles, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT)
    assert gate.reached.wait(LONG)
    for step in range(2, 12):
        bed.checkpoint(f"model.step-{step}.tlt")
    assert len(list((bed.results.parent / ".train.snapshots").iterdir())) == 2
    gate.open.set()


def test_announcement_does_not_wait_for_an_upload(bed: Bed) -> None:
    gate = Gate(PutFiles, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT)
    assert gate.reached.wait(LONG)
    begin = time.monotonic()
    bed.checkpoint(LATER)
    assert time.monotonic() - begin < 1
    gate.open.set()


def test_failed_publish_is_logged_once_and_tried_again_until_it_succeeds(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(PutFiles)
    bed.store.fail = outage
    bed.checkpoint(CHECKPOINT)
    bed.wait_for(partial(outage.has_failed, 3))
    outage.lasts = False
    bed.wait_for_publishes(1)
    assert caplog.text.count("could not be published") == 1
    assert bed.superseded == []


def test_second_outage_is_logged_too(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    for number, path in enumerate((CHECKPOINT, LATER), 1):
        outage = Outage(PutFiles)
        bed.store.fail = outage
        bed.checkpoint(path)
        bed.wait_for(partial(outage.has_failed, 2))
        outage.lasts = False
        bed.wait_for_publishes(number)
    assert caplog.text.count("could not be published") == 2


def test_retry_publishes_the_newest_checkpoint(bed: Bed) -> None:
    outage = Outage(PutFiles)
    bed.store.fail = outage
    bed.checkpoint(CHECKPOINT)
    bed.wait_for(partial(outage.has_failed, 1))
    bed.checkpoint(LATER)
    outage.lasts = False
    bed.wait_for_publishes(1)
    assert bed.published[0].checkpoints == (CHECKPOINT, LATER)


def test_unexpected_error_does_not_end_publishing(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: FenceRequest) -> None:
        bed.store.fail = lambda _: None
        raise KeyError("mistake")

    bed.store.fail = fail
    bed.checkpoint(CHECKPOINT)
    bed.wait_for_publishes(1)
    assert "KeyError" in caplog.text


def test_superseded_publish_is_reported_once_and_ends_the_thread(bed: Bed) -> None:
    claimed(bed.store, "bb", attempt=2)
    bed.checkpoint(CHECKPOINT)
    bed.wait_for(lambda: bool(bed.superseded))
    bed.checkpoint(LATER)
    bed.publisher.abandon()
    assert [type(error) for error in bed.superseded] == [Superseded]
    assert bed.store.pointer().current is None


def test_superseded_during_cleaning_is_reported(bed: Bed) -> None:
    def supersede(request: FenceRequest) -> None:
        if isinstance(request, ListKeys):
            bed.store.lose = lambda _: None
            claimed(bed.store, "bb", attempt=2)

    write_file(bed.results, CHECKPOINT, "one")
    bed.session.publish(Snapshots(bed.results, "f").take({}))
    bed.store.lose = supersede
    bed.checkpoint(CHECKPOINT, "two")
    bed.wait_for(lambda: bool(bed.superseded))


def test_abandoning_from_the_report_of_a_supersession_does_not_hang(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    called = threading.Event()

    def on_superseded(_: TaskError) -> None:
        bed.publisher.abandon()
        called.set()

    bed.publisher = StepPublisher(bed.session, bed.results, on_superseded=on_superseded)
    claimed(bed.store, "bb", attempt=2)
    with bed.publisher:
        bed.checkpoint(CHECKPOINT)
        assert called.wait(LONG)


def test_full_disk_is_logged_once_and_the_next_checkpoint_is_published(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", full)
        bed.checkpoint(CHECKPOINT)
        bed.checkpoint(LATER)
    assert caplog.text.count("can't be published now") == 1
    assert bed.published == []
    bed.checkpoint(LAST)
    bed.wait_for_publishes(1)
    assert bed.published[0].checkpoints == (CHECKPOINT, LATER, LAST)


def test_snapshot_that_was_removed_is_taken_again(bed: Bed) -> None:
    gate = Gate(PutFiles, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT)
    assert gate.reached.wait(LONG)
    bed.checkpoint(LATER)
    Snapshots(bed.results, "f").clear()
    gate.open.set()
    bed.wait_for(lambda: any(LATER in one.checkpoints for one in bed.published))
    assert set(bed.store.contents()) == {CHECKPOINT, LATER}


def test_finish_publishes_what_exists(bed: Bed) -> None:
    write_file(bed.results, CHECKPOINT, "one")
    write_result(bed.results)
    bed.publisher.finish(seconds=LONG)
    assert bed.published[-1].result == "result.json"
    assert bed.store.published() == bed.published[-1]


def test_finish_waits_for_the_upload_in_flight_and_reuses_it(bed: Bed) -> None:
    gate = Gate(PutRecord, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT)
    assert gate.reached.wait(LONG)
    write_result(bed.results)
    threading.Timer(0.1, gate.open.set).start()
    bed.publisher.finish(seconds=LONG)
    assert [published.result for published in bed.published] == [None, "result.json"]
    uploaded = [file.path for request in bed.store.requests(PutFiles) for file in request.files]  # type: ignore[union-attr]
    assert uploaded == [CHECKPOINT, "result.json"]


def test_finish_skips_the_snapshot_that_waits(bed: Bed) -> None:
    gate = Gate(PutRecord, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT)
    assert gate.reached.wait(LONG)
    bed.checkpoint(LATER)
    write_result(bed.results)
    threading.Timer(0.1, gate.open.set).start()
    bed.publisher.finish(seconds=LONG)
    assert [published.result for published in bed.published] == [None, "result.json"]


def test_finish_with_a_failing_store_ends_in_time_with_the_cause(bed: Bed) -> None:
    bed.store.fail = Outage(PutFiles)
    write_file(bed.results, CHECKPOINT, "one")
    begin = time.monotonic()
    with pytest.raises(TryAgain, match="the store has failed for 300 s"):
        bed.publisher.finish(seconds=0.3)
    assert 0.3 <= time.monotonic() - begin < 3


def test_finish_tries_again_after_a_failure(bed: Bed) -> None:
    outage = Outage(PutFiles)
    bed.store.fail = outage
    write_file(bed.results, CHECKPOINT, "one")
    threading.Timer(0.2, lambda: setattr(outage, "lasts", False)).start()
    bed.publisher.finish(seconds=LONG)
    assert bed.store.contents() == {CHECKPOINT: b"one"}


def test_finish_interrupts_an_upload_that_takes_too_long(bed: Bed) -> None:
    gate = Gate(PutFiles, bed.interrupted)
    bed.store.fail = gate
    write_file(bed.results, CHECKPOINT, "one")
    begin = time.monotonic()
    with pytest.raises(TryAgain, match="the upload was still under way"):
        bed.publisher.finish(seconds=0.2)
    assert time.monotonic() - begin < 2
    assert bed.store.pointer().current is None


def test_hurry_shortens_a_finish_under_way(bed: Bed) -> None:
    bed.store.fail = Gate(PutFiles, bed.interrupted)
    write_file(bed.results, CHECKPOINT, "one")
    threading.Timer(0.1, bed.publisher.hurry, [0.1]).start()
    begin = time.monotonic()
    with pytest.raises(TryAgain):
        bed.publisher.finish(seconds=LONG)
    assert time.monotonic() - begin < 3


def test_hurry_counts_for_a_later_finish(bed: Bed) -> None:
    bed.store.fail = Gate(PutFiles, bed.interrupted)
    write_file(bed.results, CHECKPOINT, "one")
    bed.publisher.hurry(0.1)
    begin = time.monotonic()
    with pytest.raises(TryAgain):
        bed.publisher.finish(seconds=LONG)
    assert time.monotonic() - begin < 3


def test_finish_of_a_superseded_session_raises_and_reports_nothing(bed: Bed) -> None:
    claimed(bed.store, "bb", attempt=2)
    write_file(bed.results, CHECKPOINT, "one")
    with pytest.raises(Superseded):
        bed.publisher.finish(seconds=LONG)
    assert bed.superseded == []
    assert bed.store.pointer().current is None


def test_finish_after_a_reported_supersession_raises_it(bed: Bed) -> None:
    claimed(bed.store, "bb", attempt=2)
    bed.checkpoint(CHECKPOINT)
    bed.wait_for(lambda: bool(bed.superseded))
    with pytest.raises(Superseded) as error:
        bed.publisher.finish(seconds=LONG)
    assert [error.value] == bed.superseded


def test_superseded_upload_in_flight_during_finish(bed: Bed) -> None:
    gate = Gate(UpdateRecord, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT)
    assert gate.reached.wait(LONG)
    bed.store.fail = lambda _: None
    claimed(bed.store, "bb", attempt=2)
    threading.Timer(0.1, gate.open.set).start()
    with pytest.raises(Superseded):
        bed.publisher.finish(seconds=LONG)


def test_finish_on_a_full_disk_publishes_in_place(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    write_file(bed.results, CHECKPOINT, "one")
    write_result(bed.results)
    monkeypatch.setattr(os, "link", full)
    bed.publisher.finish(seconds=LONG)
    assert bed.published[-1].result == "result.json"
    assert (bed.results / CHECKPOINT).exists()


def test_result_with_a_name_that_cannot_be_published_is_an_error_of_the_user(bed: Bed) -> None:
    write_file(bed.results, "labels/a\nb.json", "[]")
    write_file(bed.results, "labels/c.json", "[]")
    write_result(bed.results)
    with pytest.raises(UnpublishableResults, match="rename the images"):
        bed.publisher.finish(seconds=LONG)
    assert "labels/c.json" in bed.store.contents()
    assert bed.store.published().result is None


def test_failed_task_with_such_a_name_keeps_its_own_error(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    write_file(bed.results, "labels/a\nb.json", "[]")
    write_file(bed.results, "labels/c.json", "[]")
    bed.publisher.finish(seconds=LONG)
    assert caplog.text.count("rename the images") == 1


def test_abandoned_publisher_publishes_nothing_more(bed: Bed) -> None:
    gate = Gate(PutFiles, bed.interrupted)
    bed.store.fail = gate
    bed.checkpoint(CHECKPOINT)
    assert gate.reached.wait(LONG)
    bed.publisher.abandon()
    bed.checkpoint(LATER)
    assert bed.store.pointer().current is None
    assert list(bed.results.parent.iterdir()) == [bed.results]


def test_end_removes_the_snapshots(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    with bed.publisher:
        bed.checkpoint(CHECKPOINT)
        bed.publisher.finish(seconds=LONG)
    assert list(tmp_path.iterdir()) == [bed.results]


def test_start_removes_the_snapshots_of_a_killed_process(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    write_file(bed.results, CHECKPOINT, "one")
    Snapshots(bed.results, "f").take({})
    with bed.publisher:
        assert list(tmp_path.iterdir()) == [bed.results]


def test_task_without_checkpoints_is_published_repeatedly(tmp_path: Path) -> None:
    bed = Bed(tmp_path, every_seconds=0.05)
    with bed.publisher:
        write_file(bed.results, "labels/1.json", "[]")
        bed.wait_for(lambda: any(one.files for one in bed.published))
        write_file(bed.results, "labels/2.json", "[]")
        bed.wait_for(lambda: any(len(one.files) == 2 for one in bed.published))


def test_timer_without_a_change_sends_no_request(tmp_path: Path) -> None:
    bed = Bed(tmp_path, every_seconds=0.02)
    with bed.publisher:
        write_file(bed.results, "labels/1.json", "[]")
        bed.wait_for_publishes(5)
        before = len(bed.store.memory.requests)
        bed.wait_for_publishes(10)
        assert len(bed.store.memory.requests) == before


def test_cleaning_follows_a_publish_at_most_once_in_a_while(bed: Bed) -> None:
    for number, path in enumerate((CHECKPOINT, LATER, LAST), 1):
        bed.checkpoint(path)
        bed.wait_for_publishes(number)
    bed.publisher.finish(seconds=LONG)
    assert len(bed.store.requests(ListKeys)) == 1


def test_failed_cleaning_is_not_a_failed_publish(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = Outage(ListKeys)
    bed.store.fail = outage
    bed.checkpoint(CHECKPOINT)
    bed.wait_for(partial(outage.has_failed, 1))
    outage.lasts = False
    bed.checkpoint(LATER)
    bed.wait_for_publishes(2)
    assert "could not be published" not in caplog.text


def deny(request: FenceRequest) -> None:
    if isinstance(request, PutFiles):
        raise InvalidInput("permission was refused", reason="StorePermissionDenied")


def test_finish_that_is_refused_ends_at_once_with_the_refusal(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    bed.store.fail = deny
    write_file(bed.results, CHECKPOINT, "one")
    with pytest.raises(InvalidInput) as error:
        bed.publisher.finish(seconds=10 * LONG)
    assert error.value.reason == "StorePermissionDenied"
    assert "tried again" not in caplog.text


def test_refused_publish_in_the_middle_is_tried_again(bed: Bed) -> None:
    bed.store.fail = deny
    bed.checkpoint(CHECKPOINT)
    bed.wait_for(lambda: bed.publisher._failure is not None)
    bed.store.fail = lambda _: None
    bed.wait_for_publishes(1)
    assert bed.superseded == []


@pytest.mark.parametrize("is_kept", [False, True])
def test_finish_that_fails_names_the_next_attempt_if_it_finds_the_directory(tmp_path: Path, *, is_kept: bool) -> None:
    bed = Bed(tmp_path)
    bed.store.fail = Outage(PutFiles)
    write_file(bed.results, CHECKPOINT, "one")
    publisher = StepPublisher(bed.session, bed.results, on_superseded=bed.superseded.append, is_kept=is_kept)
    with publisher, pytest.raises(TryAgain) as error:
        publisher.finish(seconds=0.2)
    assert ("the next attempt in the same working directory" in str(error.value)) is is_kept
