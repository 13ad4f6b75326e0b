"""Faults between client and server: reads end whole, and load only what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.object_storage.conftest import ONE_OF_EACH_SCHEME, GetServer
from tests.object_storage.proxy import Answer, Fault, FaultProxy
from tests.object_storage.user_stores import UserStore, content_of, listed

from maskrcnn_trainer.object_store.retries import ObjectChanged

CHUNK = 1024 * 1024
BYTES = bytes(range(256)) * 20_000
SLOW_DOWN = {
    "s3": b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>",
    "gs": b"<?xml version='1.0'?><Error><Code>ServiceUnavailable</Code><Message>Try again.</Message></Error>",
    "az": b"<?xml version='1.0'?><Error><Code>ServerBusy</Code><Message>The server is busy.</Message></Error>",
}


@pytest.fixture(params=ONE_OF_EACH_SCHEME)
def faulty(request: pytest.FixtureRequest, get_server: GetServer, tmp_path: Path) -> UserStore:
    """Return a store of each scheme, with one object."""
    server = get_server(request.param)
    store = UserStore(server, server.new_container(), tmp_path)
    server.fill(store.container, {"k": BYTES})
    return store


Start = Callable[..., FaultProxy]


def read_through(store: UserStore, proxy: FaultProxy, directory: Path, *faults: Fault) -> list[str]:
    """Read the object while faults happen, check it, and return the sentences about failures."""
    waits: list[str] = []
    with store.client(proxy, options={"on_wait": waits.append}) as client:
        info = listed(client)["k"]
        proxy.faults = list(faults)
        assert content_of(client, info, directory) == BYTES
    return waits


def test_storm_of_503_passes(faulty: UserStore, in_front_of: Start, tmp_path: Path) -> None:
    proxy = in_front_of(faulty)
    waits = read_through(faulty, proxy, tmp_path, Fault(times=20, answer=Answer(503, SLOW_DOWN[faulty.server.scheme])))
    assert [one.status for one in proxy.reads()] == [503] * 20 + [206]
    assert len(waits) == 20
    assert all(wait.startswith(f"{faulty.url}/k: reading failed (HTTP 503") for wait in waits)
    assert proxy.bytes_read() == len(BYTES)


def test_reset_in_the_middle_of_a_body_costs_less_than_another_read(
    faulty: UserStore, in_front_of: Start, tmp_path: Path
) -> None:
    proxy = in_front_of(faulty)
    read_through(faulty, proxy, tmp_path, Fault(reset_after=len(BYTES) - 10))
    assert len(proxy.reads()) == 2
    begin = int(proxy.reads()[1].request.headers["range"].removeprefix("bytes=").partition("-")[0])
    assert proxy.reads()[1].body_bytes == len(BYTES) - begin


def test_truncated_body_is_continued_behind_its_last_whole_chunk(
    faulty: UserStore, in_front_of: Start, tmp_path: Path
) -> None:
    proxy = in_front_of(faulty)
    read_through(faulty, proxy, tmp_path, Fault(end_after=3 * CHUNK + 1000))
    first, second = proxy.reads()
    begin = int(second.request.headers["range"].removeprefix("bytes=").partition("-")[0])
    assert 2 * CHUNK <= begin <= first.body_bytes
    assert second.body_bytes == len(BYTES) - begin


def test_slow_link_is_no_failure(faulty: UserStore, in_front_of: Start, tmp_path: Path) -> None:
    proxy = in_front_of(faulty)
    assert read_through(faulty, proxy, tmp_path, Fault(bytes_per_second=5e6)) == []
    assert len(proxy.reads()) == 1


def test_body_of_another_object_is_never_taken_for_the_rest(
    faulty: UserStore, in_front_of: Start, tmp_path: Path
) -> None:
    """A read that was broken off is continued only on the object that it began with."""
    proxy = in_front_of(faulty)
    with faulty.client(proxy) as client:
        info = listed(client)["k"]
        replace = Fault(before=lambda _: faulty.server.fill(faulty.container, {"k": BYTES[::-1]}))
        proxy.faults = [Fault(end_after=2 * CHUNK), replace]
        with pytest.raises(ObjectChanged):
            client.get_to_file(info, tmp_path / "file")
