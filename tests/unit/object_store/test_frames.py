"""Messages between a process and its helper."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.object_store.frames import LONGEST_FRAME, BrokenFrame, FrameReader, encoded


def test_messages_arrive_whole_from_any_pieces() -> None:
    messages = [{"id": 1, "key": "é\udc80"}, {}, {"id": 2, "page": ["x"] * 100}]
    sent = b"".join(encoded(message) for message in messages)
    reader, found = FrameReader(), []
    for start in range(0, len(sent), 3):
        reader.add(sent[start : start + 3])
        while (message := reader.next()) is not None:
            found.append(message)
    assert found == messages


@pytest.mark.parametrize("sent", [(LONGEST_FRAME + 1).to_bytes(4, "big"), b"\0\0\0\2[]", b"\0\0\0\1{"])
def test_bytes_that_are_not_messages_are_refused(sent: bytes) -> None:
    reader = FrameReader()
    reader.add(sent)
    with pytest.raises(BrokenFrame):
        reader.next()
