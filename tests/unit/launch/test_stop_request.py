"""Stop request: signals that arrive before and after the start of the processes."""

from __future__ import annotations

import os
import signal

import pytest

from maskrcnn_trainer.launch.processes import NodeProcesses
from maskrcnn_trainer.launch.stop_request import GroupStopRequest


class RecordingGroup(NodeProcesses):
    """Group without processes that records what is requested."""

    def __init__(self) -> None:
        super().__init__({}, {}, {})
        self.requests: list[str] = []

    def stop(self) -> None:
        self.requests.append("stop")

    def kill(self) -> None:
        self.requests.append("kill")

    def abandon(self) -> None:
        self.requests.append("abandon")


@pytest.fixture
def group() -> RecordingGroup:
    return RecordingGroup()


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_signal_stops_the_processes(group: RecordingGroup) -> None:
    with GroupStopRequest() as stop:
        stop.follow(group)
        assert group.requests == []
        send(signal.SIGTERM)
    assert group.requests == ["stop"]


def test_signal_before_the_start_stops_processes_that_are_started_nevertheless(group: RecordingGroup) -> None:
    with GroupStopRequest() as stop:
        send(signal.SIGTERM)
        stop.follow(group)
    assert group.requests == ["stop"]


def test_second_interrupt_kills_the_processes_and_is_passed_on(group: RecordingGroup) -> None:
    passed_on = []
    with GroupStopRequest() as stop:
        stop.on_second_interrupt = lambda: passed_on.append(True)
        stop.follow(group)
        send(signal.SIGINT)
        assert passed_on == []
        send(signal.SIGINT)
    assert (group.requests, passed_on) == (["stop", "kill"], [True])


@pytest.mark.parametrize("first", ["follow", "abandon"])
def test_processes_are_abandoned_before_or_after_their_start(group: RecordingGroup, first: str) -> None:
    stop = GroupStopRequest()
    if first == "follow":
        stop.follow(group)
    stop.abandon()
    if first == "abandon":
        stop.follow(group)
    assert group.requests == ["abandon"]


def test_launch_ends_at_a_signal_or_once_it_is_abandoned() -> None:
    with GroupStopRequest() as stopped:
        assert not stopped.ends_launch
        send(signal.SIGTERM)
        assert stopped.ends_launch
    abandoned = GroupStopRequest()
    abandoned.abandon()
    assert abandoned.ends_launch
