"""Signals to stop: their count, and the reaction of each program to a second one."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from maskrcnn_operator.local.runner import Interrupts
from maskrcnn_trainer.errors import Stopped
from maskrcnn_trainer.shared.stop_signals import STOPPING, StopSignals, signals_handled
from maskrcnn_trainer.task.stopping import StopRequest


@pytest.fixture(autouse=True)
def ignored() -> Iterator[None]:
    with signals_handled(lambda *_: None, *STOPPING):
        yield


def test_signals_are_counted_and_the_first_one_is_kept() -> None:
    with StopSignals() as stop:
        assert (stop.asked, stop.first, stop.interrupts) == (False, None, 0)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert (stop.asked, stop.first, stop.interrupts) == (True, signal.SIGTERM, 1)


def test_earlier_handlers_are_back_after_the_block() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with pytest.raises(ValueError, match="inside"), StopSignals() as stop:
        raise ValueError("inside")
    assert [signal.getsignal(number) for number in STOPPING] == before
    signal.raise_signal(signal.SIGTERM)
    assert not stop.asked


def test_task_stops_at_its_next_check() -> None:
    with StopRequest() as stop:
        stop.check()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            stop.check()


def test_second_ctrl_c_ends_a_task_at_once() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stop.asked


def test_ctrl_c_after_sigterm_does_not_end_a_task_at_once() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert stop.asked


@pytest.mark.parametrize(
    ("numbers", "kill"),
    [
        ([signal.SIGINT], False),
        ([signal.SIGTERM, signal.SIGTERM], False),
        ([signal.SIGINT, signal.SIGTERM], False),
        ([signal.SIGINT, signal.SIGINT], True),
        ([signal.SIGTERM, signal.SIGINT], True),
    ],
)
def test_local_run_is_killed_by_ctrl_c_after_another_signal(numbers: list[signal.Signals], kill: bool) -> None:
    with Interrupts() as interrupts:
        for number in numbers:
            signal.raise_signal(number)
    assert (interrupts.first, interrupts.kill) == (numbers[0], kill)
