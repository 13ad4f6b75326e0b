"""History of a training: its lines, thinning, resumed trainings, and files that cannot be written or read."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.results.history import (
    LIMIT,
    History,
    HistoryEvaluation,
    HistoryWindow,
    HistoryWriter,
    begins_as_history,
    read_history,
)
from maskrcnn_trainer.results.recorded import NotRecorded

LINE = b'{"step":10,"losses":{"total_loss":1.0}}\n'


def window(step: int, loss: float = 1.0) -> HistoryWindow:
    return HistoryWindow(step, {"total_loss": loss, "mask_loss": loss / 2}, 0.01, 4.5)


def writer(directory: Path, resumed: int = 0, **options: Any) -> HistoryWriter:
    options = {"before_write": lambda: None, "seconds_between_writes": 0.0} | options
    opened = HistoryWriter(directory, **options)
    opened.take_up(resumed)
    return opened


def train(
    directory: Path, first: int, last: int, *, every: int = 10, evaluated: int = 50, **options: Any
) -> HistoryWriter:
    """Write the history of steps ``first`` to ``last``."""
    history = writer(directory, first - 1, **options)
    for step in range(first, last + 1):
        if step % every == 0:
            history.window(window(step))
        if step % evaluated == 0:
            history.evaluation(HistoryEvaluation(step, {"AP": 0.3}))
    history.flush()
    return history


def read(directory: Path) -> History:
    found = read_history(directory)
    assert isinstance(found, History), found
    return found


def steps(directory: Path) -> tuple[list[int], list[int]]:
    found = read(directory)
    return [entry.step for entry in found.windows], [entry.step for entry in found.evaluations]


def lines(directory: Path) -> list[Any]:
    return [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]


def test_lines_are_json_objects_with_six_digits(tmp_path: Path) -> None:
    history = writer(tmp_path)
    history.window(HistoryWindow(20, {"total_loss": 1.23456789, "mask_loss": 0.5}, 0.01, 4.4))
    history.evaluation(HistoryEvaluation(20, {"AP": 0.3, "mask_AP": 0.28}))
    assert lines(tmp_path) == [
        {"step": 20, "losses": {"total_loss": 1.23457, "mask_loss": 0.5}, "learning_rate": 0.01,
         "images_per_second": 4.4},
        {"step": 20, "metrics": {"AP": 0.3, "mask_AP": 0.28}},
    ]  # fmt: skip


def test_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    history = writer(tmp_path)
    history.window(HistoryWindow(20, {"total_loss": math.nan, "mask_loss": 0.5}, 0.01, math.inf))
    assert lines(tmp_path) == [{"step": 20, "losses": {"mask_loss": 0.5}, "learning_rate": 0.01}]


def test_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    train(tmp_path, 1, 100)
    found = read(tmp_path)
    assert found.windows == tuple(window(step) for step in range(10, 101, 10))
    assert found.evaluations == tuple(HistoryEvaluation(step, {"AP": 0.3}) for step in (50, 100))
    assert found.damaged == 0


def test_windows_wait_for_an_evaluation_or_a_flush(tmp_path: Path) -> None:
    history = writer(tmp_path, seconds_between_writes=1e9)
    history.window(window(10))
    history.window(window(20))
    assert steps(tmp_path) == ([10], []), "only the first one is written at once"
    history.evaluation(HistoryEvaluation(20, {"AP": 0.1}))
    assert steps(tmp_path) == ([10, 20], [20])
    history.window(window(30))
    assert steps(tmp_path) == ([10, 20], [20])
    history.flush()
    assert steps(tmp_path) == ([10, 20, 30], [20])


def test_resumed_training_drops_later_steps_and_writes_none_twice(tmp_path: Path) -> None:
    train(tmp_path, 1, 120)
    train(tmp_path, 51, 140)
    assert steps(tmp_path) == (list(range(10, 141, 10)), [50, 100])
    assert len(lines(tmp_path)) == 16


def test_training_from_step_0_drops_the_history_before(tmp_path: Path) -> None:
    train(tmp_path, 1, 50)
    writer(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_finished_training_leaves_its_history_unchanged(tmp_path: Path) -> None:
    train(tmp_path, 1, 100)
    os.utime(tmp_path / "history.jsonl", ns=(5, 5))
    writer(tmp_path, 100).flush()
    assert (tmp_path / "history.jsonl").stat().st_mtime_ns == 5


def test_checkpoint_that_is_evaluated_again_has_one_evaluation(tmp_path: Path) -> None:
    train(tmp_path, 1, 100)
    history = writer(tmp_path, 100)
    history.evaluation(HistoryEvaluation(100, {"AP": 0.4}))
    history.window(window(110))
    assert len(lines(tmp_path)) == 13
    assert read(tmp_path).evaluations[-1] == HistoryEvaluation(100, {"AP": 0.4})
    assert steps(tmp_path)[0] == list(range(10, 111, 10))


def test_metrics_that_a_killed_training_did_not_record_are_added(tmp_path: Path) -> None:
    train(tmp_path, 1, 90)
    history = HistoryWriter(tmp_path, before_write=lambda: None)
    history.take_up(90, {"AP": 0.2})
    assert read(tmp_path).evaluations[-1] == HistoryEvaluation(90, {"AP": 0.2})
    history.take_up(90, {"AP": 0.9})
    assert read(tmp_path).evaluations[-1] == HistoryEvaluation(90, {"AP": 0.2})


def is_even(found: list[int], spacing: int) -> bool:
    return {later - step for step, later in pairwise(found)} == {spacing}


def test_file_stays_below_its_limit_with_evenly_spaced_windows_and_all_evaluations(tmp_path: Path) -> None:
    history = writer(tmp_path, limit=20_000, seconds_between_writes=1e9)
    sizes = []
    for step in range(10, 20_001, 10):
        history.window(window(step))
        if step % 1000 == 0:
            history.evaluation(HistoryEvaluation(step, {"AP": 0.3}))
            sizes.append((tmp_path / "history.jsonl").stat().st_size)
    windows, evaluations = steps(tmp_path)
    assert 5_000 < max(sizes) < 20_000
    assert evaluations == list(range(1000, 20_001, 1000))
    assert is_even(windows, windows[1] - windows[0])
    assert 80 < len(windows) < 250
    assert windows[-1] > 19_500


def test_resumed_training_keeps_the_spacing_of_a_thinned_file(tmp_path: Path) -> None:
    train(tmp_path, 1, 5_000, limit=20_000)
    spacing = steps(tmp_path)[0][1] - steps(tmp_path)[0][0]
    assert spacing > 10
    train(tmp_path, 5_001, 5_400, limit=20_000)
    windows = steps(tmp_path)[0]
    assert is_even(windows, spacing)
    assert windows[-1] > 5_400 - spacing


def test_evaluations_alone_stay_below_the_limit_too(tmp_path: Path) -> None:
    train(tmp_path, 1, 4_000, every=10**6, evaluated=4, limit=8_000)
    found = steps(tmp_path)[1]
    assert (tmp_path / "history.jsonl").stat().st_size < 8_000
    assert found[-1] == 4_000
    assert len(found) > 50


def test_limit_is_5_mb() -> None:
    assert LIMIT == 5_000_000


def test_line_after_a_torn_one_is_read(tmp_path: Path) -> None:
    history = train(tmp_path, 1, 30)
    with (tmp_path / "history.jsonl").open("ab") as stream:
        stream.write(b'{"step":35,"los')
    history.window(window(40))
    assert steps(tmp_path) == ([10, 20, 30, 40], [])
    assert read(tmp_path).damaged == 1


def test_resumed_training_drops_a_torn_line(tmp_path: Path) -> None:
    train(tmp_path, 1, 30)
    with (tmp_path / "history.jsonl").open("ab") as stream:
        stream.write(b'{"step":25,"los')
    train(tmp_path, 31, 40)
    assert read(tmp_path) == History(tuple(window(step) for step in (10, 20, 30, 40)), ())


def blocked_by_a_directory(directory: Path) -> None:
    (directory / "history.jsonl").mkdir()


def blocked_by_a_link(directory: Path) -> None:
    (directory / "other").write_bytes(b"")
    (directory / "history.jsonl").symlink_to(directory / "other")


def blocked_by_a_pipe(directory: Path) -> None:
    os.mkfifo(directory / "history.jsonl")


@pytest.mark.parametrize("block", [blocked_by_a_directory, blocked_by_a_link, blocked_by_a_pipe])
def test_history_that_cannot_be_written_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, block: Callable[[Path], None]
) -> None:
    block(tmp_path)
    train(tmp_path, 1, 100)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"{tmp_path / 'history.jsonl'}: the history of this training is incomplete" in caplog.text


def test_disk_that_is_full_for_a_while_costs_only_the_lines_of_that_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    history = train(tmp_path, 1, 20)

    def full(*_arguments: Any, **_options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("maskrcnn_trainer.results.history.open_in_place", full)
        history.window(window(30))
        history.window(window(40))
    history.window(window(50))
    assert steps(tmp_path) == ([10, 20, 50], [])
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == ["No space left on device"]


def test_run_that_lost_its_directory_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, 1, 100)
    before = (tmp_path / "history.jsonl").read_bytes()

    def taken_over() -> None:
        raise TryAgain("another run took over", reason="Superseded")

    train(tmp_path, 51, 100, before_write=taken_over)
    train(tmp_path, 101, 150, before_write=taken_over)
    assert (tmp_path / "history.jsonl").read_bytes() == before
    assert "another run took over" in caplog.text


@pytest.mark.parametrize("content", [b"my own notes\n", b'{"loss": 1}\n', b'[{"step":1}]'])
def test_file_of_another_program_is_not_changed(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history.jsonl").write_bytes(content)
    train(tmp_path, 1, 100)
    assert (tmp_path / "history.jsonl").read_bytes() == content
    assert "was not written by a training" in caplog.text
    assert not begins_as_history(content)


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b'{"st', LINE, b"\0\0" + LINE])
def test_beginning_of_a_history_may_be_empty_or_truncated(content: bytes) -> None:
    assert begins_as_history(content)


@pytest.mark.parametrize(
    "line",
    [
        b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"step":' + b"9" * 5000 + b"}",
        b'{"losses":{"total_loss":1}}',
        b'{"step":true,"losses":{"total_loss":1}}',
        b'{"step":-1,"losses":{"total_loss":1}}',
        b'{"step":0,"losses":{"total_loss":1}}',
        b'{"step":1e3,"losses":{"total_loss":1}}',
        b'{"step":5,"losses":[1]}',
        b'{"step":5,"losses":{"total_loss":NaN}}',
        b'{"step":5,"losses":{"total_loss":"1"}}',
        b'{"step":5,"losses":{"total_loss":1' + b"0" * 400 + b"}}",
        b'{"step":5,"losses":{"\\ud800":1}}',
        b'{"step":5,"metrics":{"AP":true}}',
        b'{"step":5,"metrics":7}',
        b'{"step":5,"learning_rate":Infinity}',
    ],
)  # fmt: skip
def test_damaged_line_is_left_out_and_counted(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "history.jsonl").write_bytes(line + b"\n" + LINE)
    found = read(tmp_path)
    assert found == History((HistoryWindow(10, {"total_loss": 1.0}),), (), damaged=1)


def test_reader_sorts_the_steps_and_keeps_the_last_of_equals(tmp_path: Path) -> None:
    content = [{"step": 20, "losses": {"total_loss": 1}}, {"step": 10, "losses": {"total_loss": 2}},
               {"step": 20, "losses": {"total_loss": 3}}]  # fmt: skip
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, content)))
    assert [(one.step, one.losses["total_loss"]) for one in read(tmp_path).windows] == [(10, 2.0), (20, 3.0)]


def reason(directory: Path) -> str:
    found = read_history(directory)
    assert isinstance(found, NotRecorded)
    return found.reason


def test_history_without_a_valid_line_is_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(b"{}\n[]\n")
    assert reason(tmp_path) == "history.jsonl has no valid line"


def test_absent_history_is_not_recorded(tmp_path: Path) -> None:
    assert "absent" in reason(tmp_path)
    assert "absent" in reason(tmp_path / "no" / "such" / "directory")


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "history.jsonl").open("wb") as stream:
        stream.truncate(1 << 40)
    assert "more than 20,000,000 bytes" in reason(tmp_path)


@pytest.mark.parametrize("block", [blocked_by_a_directory, blocked_by_a_pipe])
def test_path_that_is_not_a_file_is_not_recorded(tmp_path: Path, block: Callable[[Path], None]) -> None:
    block(tmp_path)
    assert reason(tmp_path).startswith("history.jsonl cannot be read: ")
