"""Channel between rank 0 and launch: messages in both directions, ends that have gone, and foreign descriptors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from maskrcnn_trainer.shared.variables import PUBLICATION_VARIABLE
from maskrcnn_trainer.task.publication import LaunchPublication, TaskPublication, inherited_descriptor


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return launch's and the task's socket."""
    launch_end, task_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with launch_end, task_end:
        yield launch_end, task_end


Ends = tuple[socket.socket, socket.socket]


def test_announced_steps_reach_launch_in_order_until_the_task_ends(ends: Ends) -> None:
    launch, task = LaunchPublication(*ends), TaskPublication(ends[1])
    task.announce(0)
    task.announce(20)
    launch.release()
    assert list(launch.announced()) == [0, 20]


def test_newest_published_step_reaches_the_task(ends: Ends) -> None:
    launch, task = LaunchPublication(*ends), TaskPublication(ends[1])
    assert task.published_step is None
    launch.published(10)
    launch.published(20)
    assert [task.published_step, task.published_step] == [20, 20]


@pytest.mark.parametrize(
    "packet",
    [b"[", b"[1]", b"{}", b'{"completeStep":"5"}', b'{"completeStep":true}', b'{"completeStep":-1}', b"[" * 1000],
)
def test_other_messages_are_ignored(ends: Ends, packet: bytes) -> None:
    launch, task = LaunchPublication(*ends), TaskPublication(ends[1])
    ends[1].send(packet)
    task.announce(5)
    launch.release()
    assert list(launch.announced()) == [5]


def test_messages_to_an_end_that_has_gone_are_dropped(ends: Ends) -> None:
    task = TaskPublication(ends[1])
    ends[0].close()
    task.announce(5)
    assert task.published_step is None


@pytest.mark.timeout(30)
def test_task_that_reads_nothing_does_not_block_launch(ends: Ends) -> None:
    launch = LaunchPublication(*ends)
    for step in range(10_000):
        launch.published(step)


def test_child_that_inherits_the_descriptor_finds_the_channel() -> None:
    launch = LaunchPublication.open()
    source = "from maskrcnn_trainer.task.publication import task_publication; task_publication().announce(7)"
    subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, PUBLICATION_VARIABLE: str(launch.descriptor)},
        pass_fds=[launch.descriptor],
        check=True,
    )
    launch.release()
    assert list(launch.announced()) == [7]
    launch.close()


@pytest.mark.parametrize("kind", ["unset", "closed", "file", "stream", "text"])
def test_descriptor_of_something_else_is_not_the_channel(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with socket.socketpair()[0] as stream, open(os.devnull, "rb") as file:  # noqa: PTH123 - a device
        texts = {
            "unset": "",
            "closed": "99999",
            "file": str(file.fileno()),
            "stream": str(stream.fileno()),
            "text": "x",
        }
        monkeypatch.setenv(PUBLICATION_VARIABLE, texts[kind])
        assert inherited_descriptor() is None
        os.fstat(file.fileno())
        os.fstat(stream.fileno())


def test_own_descriptor_stays_open(monkeypatch: pytest.MonkeyPatch, ends: Ends) -> None:
    monkeypatch.setenv(PUBLICATION_VARIABLE, str(ends[1].fileno()))
    assert inherited_descriptor() == ends[1].fileno()
    os.fstat(ends[1].fileno())


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_waits_before_the_first_checkpoint(ends: Ends) -> None:
    assert TaskPublication(ends[1]).unpublished_seconds is None


def test_checkpoint_waits_from_its_announcement_until_it_is_published(ends: Ends, clock: Clock) -> None:
    launch, task = LaunchPublication(*ends), TaskPublication(ends[1], clock=clock)
    task.announce(10)
    clock.seconds += 7
    assert task.unpublished_seconds == 7
    launch.published(10)
    assert task.unpublished_seconds is None


def test_newer_checkpoint_does_not_shorten_the_wait(ends: Ends, clock: Clock) -> None:
    task = TaskPublication(ends[1], clock=clock)
    task.announce(10)
    clock.seconds += 300
    task.announce(20)
    clock.seconds += 5
    assert task.unpublished_seconds == 305


def test_wait_counts_from_the_first_checkpoint_after_the_published_one(ends: Ends, clock: Clock) -> None:
    launch, task = LaunchPublication(*ends), TaskPublication(ends[1], clock=clock)
    for step in (10, 20, 30):
        task.announce(step)
        clock.seconds += 100
    launch.published(10)
    assert task.unpublished_seconds == 200


def test_published_checkpoint_that_is_announced_again_does_not_wait(ends: Ends) -> None:
    launch, task = LaunchPublication(*ends), TaskPublication(ends[1])
    launch.published(10)
    task.announce(10)
    assert task.unpublished_seconds is None


def test_waiting_checkpoint_that_is_announced_again_keeps_its_time(ends: Ends, clock: Clock) -> None:
    task = TaskPublication(ends[1], clock=clock)
    task.announce(10)
    clock.seconds += 60
    task.announce(10)
    assert task.unpublished_seconds == 60


def test_checkpoint_older_than_a_damaged_published_one_waits_until_the_next_publish(ends: Ends) -> None:
    launch, task = LaunchPublication(*ends), TaskPublication(ends[1])
    launch.published(20)
    task.announce(10)
    assert task.unpublished_seconds is not None
    launch.published(10)
    assert task.unpublished_seconds is None
