"""Messages of the helper process while it carries out requests."""

from __future__ import annotations

import time

from maskrcnn_trainer.object_store.frames import Message
from maskrcnn_trainer.object_store.helper_heartbeat import Heartbeat


def started(sent: list[Message]) -> Heartbeat:
    heartbeat = Heartbeat(sent.append, seconds=0.02)
    heartbeat.start()
    return heartbeat


def test_nothing_is_sent_at_rest() -> None:
    sent: list[Message] = []
    heartbeat = started(sent)
    with heartbeat.during_request():
        pass
    sent.clear()
    time.sleep(0.1)
    assert sent == []


def test_messages_are_sent_during_a_request() -> None:
    sent: list[Message] = []
    with started(sent).during_request():
        deadline = time.monotonic() + 20
        while len(sent) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert sent[:2] == [{"alive": True}] * 2


def test_messages_are_sent_until_the_last_of_several_requests_has_ended() -> None:
    sent: list[Message] = []
    heartbeat = started(sent)
    with heartbeat.during_request():
        with heartbeat.during_request():
            pass
        sent.clear()
        deadline = time.monotonic() + 20
        while not sent and time.monotonic() < deadline:
            time.sleep(0.005)
        assert sent
