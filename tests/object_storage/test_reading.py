"""Reads from real servers: parts, keys with special characters, and objects that change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.object_storage.proxy import Fault, FaultProxy
from tests.object_storage.user_stores import UserStore, content_of, listed

from maskrcnn_trainer.object_store.client import ObjectInfo, parts_of
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.retries import ObjectAbsent, ObjectChanged

BYTES = bytes(range(256)) * 20_000
"""Five megabytes: several chunks of a read."""

KEYS = ("plain.jpg", "a b.jpg", "ü/é+#.jpg", "100%20.jpg", "~()'!*&=;:@$,.jpg", "a.b.c")


def test_keys_are_literal(store: UserStore, tmp_path: Path) -> None:
    objects = {f"keys/{key}": key.encode() for key in KEYS}
    store.server.fill(store.container, objects)
    with store.client() as client:
        found = listed(client, "keys")
        assert {key: content_of(client, info, tmp_path) for key, info in found.items()} == objects
        assert client.head("keys/100 .jpg") is None


def test_parts_of_an_object_make_the_whole(
    store: UserStore, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    store.server.fill(store.container, {"k": BYTES})
    proxy = in_front_of(store)
    with store.client(proxy) as client:
        info = client.head("k")
        assert info and info.size == len(BYTES)
        parts = parts_of(info, tmp_path / "file", part_bytes=1_000_000)
        assert dict(client.fetch(reversed(parts))) == dict.fromkeys(parts, ReadOutcome.DONE)
    assert (tmp_path / "file").read_bytes() == BYTES
    assert proxy.bytes_read() == len(BYTES)
    assert len(proxy.reads()) == len(parts) == 6
    assert {one.status for one in proxy.reads()} == {206}


def test_read_loads_only_what_a_file_lacks(
    store: UserStore, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    store.server.fill(store.container, {"k": BYTES})
    (tmp_path / "file").write_bytes(BYTES[:3_000_000])
    proxy = in_front_of(store)
    with store.client(proxy) as client:
        info = listed(client)["k"]
        list(client.fetch(parts_of(info, tmp_path / "file", start=3_000_000)))
    assert (tmp_path / "file").read_bytes() == BYTES
    assert proxy.bytes_read() == len(BYTES) - 3_000_000


def test_object_of_the_same_size_that_was_replaced_is_noticed(store: UserStore, tmp_path: Path) -> None:
    store.server.fill(store.container, {"k": b"old"})
    with store.client() as client:
        info = listed(client)["k"]
        store.server.fill(store.container, {"k": b"new"})
        with pytest.raises(ObjectChanged) as caught:
            client.get_to_file(info, tmp_path / "file")
        assert f"{store.url}/k: " in str(caught.value)
        assert caught.value.exit_code == 75
        assert content_of(client, listed(client)["k"], tmp_path) == b"new"


def test_object_that_is_replaced_between_two_parts_is_noticed(
    store: UserStore, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    store.server.fill(store.container, {"k": BYTES})
    proxy = in_front_of(store)
    with store.client(proxy, options={"concurrency": 1}) as client:
        info = listed(client)["k"]
        parts = parts_of(info, tmp_path / "file", part_bytes=3_000_000)
        second = Fault(
            lambda request: request.is_read and request.headers.get("range", "").startswith("bytes=3000000-"),
            before=lambda _: store.server.fill(store.container, {"k": BYTES[::-1]}),
        )
        proxy.faults = [second]
        assert [outcome for _, outcome in client.fetch(parts)] == [ReadOutcome.DONE, ReadOutcome.CHANGED]


def test_object_that_is_gone_is_noticed(store: UserStore, tmp_path: Path) -> None:
    store.server.fill(store.container, {"k": b"x"})
    with store.client() as client:
        info = listed(client)["k"]
        store.server.delete(store.container, "k")
        # Azurite refuses the condition of an etag before it looks for the blob
        expected = ObjectChanged if store.server.name == "azurite" else ObjectAbsent
        with pytest.raises(expected):
            client.get_to_file(info, tmp_path / "file")
        assert client.head("k") is None


def test_listed_size_that_is_wrong_is_noticed(store: UserStore, tmp_path: Path) -> None:
    store.server.fill(store.container, {"k": b"four"})
    with store.client() as client:
        info = listed(client)["k"]
        wrong = ObjectInfo("k", 5, info.etag)
        assert [outcome for _, outcome in client.fetch(parts_of(wrong, tmp_path / "file"))] == [ReadOutcome.CHANGED]


def test_empty_object_becomes_an_empty_file(store: UserStore, tmp_path: Path) -> None:
    store.server.fill(store.container, {"k": b""})
    with store.client() as client:
        assert content_of(client, listed(client)["k"], tmp_path) == b""
