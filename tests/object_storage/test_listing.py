"""Listings of real servers: pages, folder markers, and keys that no file can have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.object_storage.conftest import GetServer
from tests.object_storage.proxy import Answer, Fault, FaultProxy
from tests.object_storage.user_stores import UserStore, listed, md5

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.needed_objects import objects_at

MANY = [f"many/{number // 100:02}/{number:05}.jpg" for number in range(1250)]
LATER_PAGES = {"continuation-token", "start-after"}


def new_store(get_server: GetServer, name: str, directory: Path) -> UserStore:
    """Return a new container of a server."""
    server = get_server(name)
    return UserStore(server, server.new_container(), directory)


def test_listing_has_every_key_once_over_several_pages(
    store: UserStore, in_front_of: Callable[..., FaultProxy]
) -> None:
    store.server.fill(store.container, dict.fromkeys(MANY, b"x") | {"many.json": b"y", "manyfold/a": b"z"})
    proxy = in_front_of(store)
    with store.client(proxy) as client:
        assert sorted(listed(client, "many")) == MANY
    assert len(proxy.lists()) == (1 if store.server.scheme == "az" else 2)
    assert not proxy.reads()


@pytest.mark.parametrize("name", ["moto", "versitygw", "gcs"])  # a page of Azure has 5,000 keys
def test_listing_continues_behind_the_last_page_after_a_failure(
    get_server: GetServer, in_front_of: Callable[..., FaultProxy], tmp_path: Path, name: str
) -> None:
    store = new_store(get_server, name, tmp_path)
    store.server.fill(store.container, dict.fromkeys(MANY, b"x"))
    proxy = in_front_of(store)
    proxy.faults = [Fault(lambda request: bool(LATER_PAGES & request.query.keys()), times=2, answer=Answer(503))]
    with store.client(proxy) as client:
        assert sorted(listed(client, "many")) == MANY
    assert [one.status for one in proxy.lists()] == [200, 503, 503, 200]


def test_etags_and_sizes_are_those_of_a_look_up(store: UserStore) -> None:
    objects = {"a/one": b"1", "a/two": b"22", "a/b/three": b"333"}
    store.server.fill(store.container, objects)
    with store.client() as client:
        found = listed(client, "a")
        assert found == {key: client.head(key) for key in objects}
        if store.server.scheme != "az":
            assert {key: info.etag for key, info in found.items()} == {k: md5(v) for k, v in objects.items()}


def test_listing_of_one_folder_has_no_deeper_keys(store: UserStore) -> None:
    store.server.fill(store.container, {"a/one": b"1", "a/b/two": b"22", "ab": b"3"})
    with store.client() as client:
        assert [info.key for info in client.list("a", recursive=False)] == ["a/one"]


def test_empty_container_has_no_keys(store: UserStore) -> None:
    with store.client() as client:
        assert listed(client) == {}


@pytest.mark.parametrize("name", ["moto", "azurite", "gcs"])
def test_folder_markers_are_left_out(get_server: GetServer, tmp_path: Path, name: str) -> None:
    store = new_store(get_server, name, tmp_path)
    put = store.server.put_raw
    assert put
    store.server.fill(store.container, {"images/a.jpg": b"a", "images/deep/b.jpg": b"b", "images/empty": b""})
    put(store.container, "images/", b"")
    put(store.container, "images/deep/", b"")
    with store.client() as client:
        assert sorted(listed(client)) == ["images/a.jpg", "images/deep/b.jpg", "images/empty"]
        assert sorted(listed(client, "images")) == ["images/a.jpg", "images/deep/b.jpg", "images/empty"]


@pytest.mark.parametrize(
    ("name", "key"), [("moto", "images//b.jpg"), ("gcs", "images//b.jpg"), ("gcs", "images/x\ny.jpg")]
)
def test_key_that_the_library_cannot_list_is_named(get_server: GetServer, tmp_path: Path, name: str, key: str) -> None:
    store = new_store(get_server, name, tmp_path)
    put = store.server.put_raw
    assert put
    put(store.container, key, b"x")
    with store.client() as client, pytest.raises(InvalidInput) as caught:
        listed(client, "images")
    assert caught.value.exit_code == 64
    assert f"{store.url}/images" in str(caught.value)
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize("name", ["moto", "azurite", "gcs"])
def test_object_with_the_name_of_a_folder_is_refused_by_name(get_server: GetServer, tmp_path: Path, name: str) -> None:
    store = new_store(get_server, name, tmp_path)
    store.server.fill(store.container, {"images/x": b"a", "images/x/y": b"b"})
    url = ObjectUrl(store.server.scheme, store.container, "images")
    with store.client() as client, pytest.raises(InvalidInput) as caught:
        objects_at(url, InputKind.DIRECTORY, client, "store", field="-i")
    assert caught.value.exit_code == 64
    assert "'x'" in str(caught.value)


@pytest.mark.parametrize("name", ["moto", "azurite", "gcs"])
def test_name_that_is_too_long_for_a_file_is_refused(get_server: GetServer, tmp_path: Path, name: str) -> None:
    store = new_store(get_server, name, tmp_path)
    long = "ü" * 128
    store.server.fill(store.container, {f"images/{long}": b"a"})
    url = ObjectUrl(store.server.scheme, store.container, "images")
    with store.client() as client, pytest.raises(InvalidInput, match="255") as caught:
        objects_at(url, InputKind.DIRECTORY, client, "store", field="-i")
    assert caught.value.exit_code == 64
