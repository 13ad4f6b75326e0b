"""Objects become files of a directory by way of the cache: loaded once, resumed, and noticed when they change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.object_store.clients import client_of
from tests.unit.object_store.stub_server import etag_of, serving

from maskrcnn_trainer.errors import Stopped
from maskrcnn_trainer.object_store import client as client_module
from maskrcnn_trainer.object_store.client import ObjectInfo, parts_of
from maskrcnn_trainer.object_store.loading_record import record_part
from maskrcnn_trainer.staging import loading
from maskrcnn_trainer.staging.cache_names import cached_name
from maskrcnn_trainer.staging.cache_owner import CacheOwner
from maskrcnn_trainer.staging.loading import load_planned
from maskrcnn_trainer.staging.object_cache import ObjectCache
from maskrcnn_trainer.staging.plan import NeededObject

OBJECTS = {"images/a.jpg": b"a" * 1000, "images/deep/b.jpg": bytes(range(256)) * 4000, "images/empty": b""}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ObjectCache]:
    with CacheOwner(tmp_path / "cache") as owner:
        yield ObjectCache(tmp_path / "cache", owner)


def needed(key: str, content: bytes) -> NeededObject:
    info = ObjectInfo(key, len(content), etag_of(content))
    return NeededObject(info, cached_name("store", key, info.etag, info.size), key.removeprefix("images/"))


ALL = [needed(key, content) for key, content in OBJECTS.items()]


def content_of(cache: ObjectCache, one: NeededObject) -> bytes:
    place = cache.staged(0) / one.place
    assert cache.stage(one.name, place)
    return place.read_bytes()


def test_objects_are_loaded_once(tmp_path: Path, cache: ObjectCache) -> None:
    with serving(b=dict(OBJECTS)) as server, client_of(server, tmp_path) as client:
        counted: list[int] = []
        whole: list[NeededObject] = []
        outcome = load_planned(ALL, client, cache, on_loaded=counted.append, on_whole=whole.append)
        total = sum(map(len, OBJECTS.values()))
        assert (outcome.loaded_bytes, sum(counted), outcome.changed, outcome.absent) == (total, total, (), ())
        assert sorted(one.place for one in whole) == sorted(one.place for one in ALL)
        for one in ALL:
            assert content_of(cache, one) == OBJECTS[one.info.key]
        requests = len(server.reads())
        assert load_planned(ALL, client, cache).loaded_bytes == 0
        assert len(server.reads()) == requests


def test_only_missing_parts_are_loaded(tmp_path: Path, cache: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module.parts_of, "__defaults__", (0, 100_000))
    monkeypatch.setattr(loading, "PART_BYTES", 100_000)
    (one,) = (one for one in ALL if one.place == "deep/b.jpg")
    content = OBJECTS[one.info.key]
    partial = cache.partial(one.name, several=True)
    partial.write_bytes(bytes(200_000) + content[200_000:300_000])
    record_part(parts_of(one.info, partial)[2])
    with serving(b=dict(OBJECTS)) as server, client_of(server, tmp_path) as client:
        outcome = load_planned([one], client, cache)
        assert outcome.loaded_bytes == len(content) - 100_000
        assert content_of(cache, one) == content


def test_object_that_changed_since_it_was_listed_is_reported_and_not_kept(tmp_path: Path, cache: ObjectCache) -> None:
    changed = {**OBJECTS, "images/a.jpg": b"b" * 1000}
    with serving(b=changed) as server, client_of(server, tmp_path) as client:
        outcome = load_planned(ALL, client, cache)
        assert [one.place for one in outcome.changed] == ["a.jpg"]
        assert [one.place for one in ALL if cache.size_of(one.name) is None] == ["a.jpg"]
        assert not cache.partial(ALL[0].name).exists()
        assert cache.holder(ALL[0].name) is None


def test_object_that_is_gone_is_reported(tmp_path: Path, cache: ObjectCache) -> None:
    rest = {key: content for key, content in OBJECTS.items() if key != "images/a.jpg"}
    with serving(b=rest) as server, client_of(server, tmp_path) as client:
        outcome = load_planned(ALL, client, cache)
        assert [one.place for one in outcome.absent] == ["a.jpg"]
        assert not outcome.changed


def test_object_that_another_process_loads_is_left_to_it(tmp_path: Path, cache: ObjectCache) -> None:
    with (
        CacheOwner(cache.root) as owner,
        serving(b=dict(OBJECTS)) as server,
        client_of(server, tmp_path) as client,
    ):
        other = ObjectCache(cache.root, owner)
        other.claim(ALL[0].name)
        outcome = load_planned(ALL, client, cache)
        assert [one.place for one in outcome.elsewhere] == ["a.jpg"]
        assert not server.reads("images/a.jpg")
        other.release(ALL[0].name)
        assert load_planned(outcome.elsewhere, client, cache).loaded_bytes == 1000


def test_interrupted_load_releases_its_claims(tmp_path: Path, cache: ObjectCache) -> None:
    with serving(b=dict(OBJECTS)) as server, client_of(server, tmp_path, stop=lambda: bool(server.reads())) as client:
        with pytest.raises(Stopped):
            load_planned(ALL, client, cache)
        assert all(cache.holder(one.name) is None for one in ALL)
