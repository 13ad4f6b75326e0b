"""Look-ups, listings, and reads on a server that speaks each provider's protocol."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.object_store.clients import SCHEMES, client_of
from tests.unit.object_store.stub_server import Answer, etag_of, refusal, serving

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import ObjectInfo, Part, parts_of
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.retries import ObjectAbsent, ObjectChanged

BYTES = bytes(range(256)) * 20_000
"""Five megabytes: several chunks of a read."""


def info_of(key: str, content: bytes) -> ObjectInfo:
    return ObjectInfo(key, len(content), etag_of(content))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_provider_is_looked_up_listed_and_read(tmp_path: Path, scheme: str) -> None:
    key = "a/b c%20é+#.jpg"
    with serving(b={key: BYTES, "other": b"x"}) as server, client_of(server, tmp_path, scheme) as client:
        assert client.head(key) == info_of(key, BYTES)
        assert client.head("a/absent") is None
        assert list(client.list("a")) == [info_of(key, BYTES)]
        written: list[tuple[int, int]] = []
        client.get_to_file(
            info_of(key, BYTES), tmp_path / "file", on_bytes=lambda _, start, end: written.append((start, end))
        )
        assert (tmp_path / "file").read_bytes() == BYTES
        assert sum(end - start for start, end in written) == len(BYTES)
        assert len(written) > 1
        conditions = [seen.headers["if-match"] for seen in server.reads(key) if "if-match" in seen.headers]
        assert conditions == [f'"{etag_of(BYTES)}"']


def test_object_is_read_in_parts_to_their_places_in_the_file(tmp_path: Path) -> None:
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path) as client:
        parts = parts_of(info_of("k", BYTES), tmp_path / "file", part_bytes=1_000_000)
        assert dict(client.fetch(reversed(parts))) == dict.fromkeys(parts, ReadOutcome.DONE)
        assert (tmp_path / "file").read_bytes() == BYTES
        ranges = sorted(seen.headers["range"] for seen in server.reads())
        assert ranges[:2] == ["bytes=0-999999", "bytes=1000000-1999999"]


def test_read_continues_behind_what_a_file_has(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BYTES[:3_000_000])
    with serving(b={"k": BYTES}) as server, client_of(server, tmp_path) as client:
        list(client.fetch(parts_of(info_of("k", BYTES), tmp_path / "file", start=3_000_000)))
        assert (tmp_path / "file").read_bytes() == BYTES
        assert server.reads()[0].headers["range"] == f"bytes=3000000-{len(BYTES) - 1}"


def test_empty_object_becomes_an_empty_file_without_a_request(tmp_path: Path) -> None:
    with serving(b={}) as server, client_of(server, tmp_path) as client:
        client.get_to_file(ObjectInfo("k", 0, ""), tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b""
        assert not server.seen


def test_listing_has_all_pages_and_no_folder_markers(tmp_path: Path) -> None:
    objects = {f"d/{number:05}": b"x" for number in range(2500)} | {"d": b"", "d/empty": b"", "d/00001/": b""}
    with serving(b=objects) as server, client_of(server, tmp_path) as client:
        found = [info.key for info in client.list("")]
        assert sorted(found) == [*(f"d/{number:05}" for number in range(2500)), "d/empty"]
        assert len(server.seen) == 3


def test_listing_of_one_folder_leaves_out_deeper_ones_and_their_markers(tmp_path: Path) -> None:
    with serving(b={"a/x": b"x", "a/deep/y": b"y", "a/deep": b""}) as server, client_of(server, tmp_path) as client:
        assert [info.key for info in client.list("a", recursive=False)] == ["a/x"]


def test_listing_that_fails_in_the_middle_continues_behind_the_last_key(tmp_path: Path) -> None:
    with serving(b={f"{number:05}": b"x" for number in range(2500)}) as server:
        failed: list[str] = []

        def fail_once(seen: object) -> Answer | None:
            if len(server.seen) == 2 and not failed:
                failed.append("once")
                return refusal(503, "SlowDown")
            return None

        server.plan = fail_once
        with client_of(server, tmp_path) as client:
            assert [info.key for info in client.list("")] == [f"{number:05}" for number in range(2500)]
        assert server.seen[2].query["start-after"] == "00999"


@pytest.mark.parametrize("key", ["a//b", "a/../b", "a/./b", "a/x\ny"])
def test_key_that_cannot_be_listed_is_named(tmp_path: Path, key: str) -> None:
    with serving(b={key: b"x"}) as server, client_of(server, tmp_path) as client:
        with pytest.raises(InvalidInput) as caught:
            list(client.list("a"))
        assert repr(key) in str(caught.value)


def test_changed_object_is_an_outcome(tmp_path: Path) -> None:
    with serving(b={"same size": b"new", "k": b"x"}) as server, client_of(server, tmp_path) as client:
        changed, longer = info_of("same size", b"old"), ObjectInfo("k", 5, etag_of(b"x"))
        parts = [Part(info, tmp_path / "file", 0, info.size) for info in (changed, longer)]
        assert dict(client.fetch(parts)) == dict.fromkeys(parts, ReadOutcome.CHANGED)
        with pytest.raises(ObjectChanged, match="s3://b/same size: "):
            client.get_to_file(changed, tmp_path / "file")
        assert not (tmp_path / "file").exists()


def test_changed_object_is_noticed_where_the_server_ignores_conditions(tmp_path: Path) -> None:
    headers = {"ETag": '"another"', "Content-Range": "bytes 0-0/1", "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        server.plan = lambda _: Answer(206, b"y", headers)
        (outcome,) = [outcome for _, outcome in client.fetch(parts_of(info_of("k", b"x"), tmp_path / "file"))]
        assert outcome is ReadOutcome.CHANGED


def test_object_that_is_gone_is_an_outcome(tmp_path: Path) -> None:
    with serving(b={}) as server, client_of(server, tmp_path) as client:
        (outcome,) = [outcome for _, outcome in client.fetch(parts_of(ObjectInfo("k", 1, "e"), tmp_path / "file"))]
        assert outcome is ReadOutcome.ABSENT
        with pytest.raises(ObjectAbsent, match="s3://b/k: .*no such object"):
            client.get_to_file(ObjectInfo("k", 1, "e"), tmp_path / "file")


def test_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"kept")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client:
        parts = parts_of(info_of("k", b"x"), tmp_path / "file")
        with pytest.raises(OSError, match="symbolic links"):
            list(client.fetch(parts))
        assert (tmp_path / "victim").read_bytes() == b"kept"


def test_full_disk_is_an_error_of_the_file(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server, client_of(server, tmp_path) as client, pytest.raises(OSError) as caught:
        client.get_to_file(info_of("k", b"x"), Path("/dev/full"))
    assert (caught.value.strerror, caught.value.filename) == ("No space left on device", "/dev/full")


def test_client_can_be_used_while_reads_are_under_way(tmp_path: Path) -> None:
    objects = {f"k{number}": BYTES[:1000] for number in range(40)}
    with serving(b=objects) as server, client_of(server, tmp_path, concurrency=4) as client:
        parts = [part for key in objects for part in parts_of(info_of(key, BYTES[:1000]), tmp_path / key)]
        for part, outcome in client.fetch(parts):
            assert (outcome, client.head(part.info.key)) == (ReadOutcome.DONE, part.info)
    assert {(tmp_path / key).read_bytes() for key in objects} == {BYTES[:1000]}
