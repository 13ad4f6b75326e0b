"""Keys of stores and the environment's identity, which never meet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.object_storage.conftest import GetServer
from tests.object_storage.installs import InstallError
from tests.object_storage.proxy import FaultProxy
from tests.object_storage.servers import ACCOUNT, ObjectServer, account_sas, versitygw
from tests.object_storage.user_stores import UserStore, client_for, listed, write_config

Start = Callable[..., FaultProxy]


@pytest.fixture
def two_stores(tmp_path: Path) -> Iterator[tuple[UserStore, UserStore]]:
    """Return buckets of two servers, which have different keys."""
    with ExitStack() as stack:
        servers: list[ObjectServer] = []
        for name in ("first", "second"):
            try:
                servers.append(stack.enter_context(versitygw(name)))
            except InstallError as error:
                pytest.skip(str(error))
        first, second = (UserStore(server, server.new_container(), tmp_path) for server in servers)
        first.server.fill(first.container, {"a": b"1"})
        second.server.fill(second.container, {"b": b"2"})
        yield first, second


def test_two_stores_with_different_keys_are_read_at_once(
    two_stores: tuple[UserStore, UserStore], tmp_path: Path
) -> None:
    config = write_config(tmp_path / "stores.yaml", *(store.entry() for store in two_stores))
    first, second = (client_for(store.url, config) for store in two_stores)
    with first, second:
        assert [set(listed(client)) for client in (first, second, first)] == [{"a"}, {"b"}, {"a"}]
        assert first.pid != second.pid


def test_longest_prefix_has_the_key(two_stores: tuple[UserStore, UserStore], tmp_path: Path) -> None:
    store, other = two_stores
    wrong = {**store.entry(), "secretDir": other.secret_dir.name, "prefix": store.url}
    other.entry()
    right = {**store.entry(), "prefix": f"{store.url}/deep"}
    store.server.fill(store.container, {"deep/a": b"1"})
    config = write_config(tmp_path / "stores.yaml", wrong, right)
    with client_for(f"{store.url}/deep", config) as client:
        assert set(listed(client, "deep")) == {"deep/a"}


def key_ids(proxy: FaultProxy) -> set[str]:
    """Return the key IDs by which requests were signed."""
    found = (re.search(r"Credential=([^/]+)/", one.request.headers.get("authorization", "")) for one in proxy.passed)
    return {match[1] if match else "" for match in found}


def ambient(address: str) -> Mapping[str, str]:
    """Return an environment with an identity of its own, and another endpoint."""
    return {
        "AWS_ACCESS_KEY_ID": "AMBIENTKEY",
        "AWS_SECRET_ACCESS_KEY": "ambient-secret",
        "AWS_SESSION_TOKEN": "ambient-token",
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION": "eu-central-1",
        "AWS_ALLOW_HTTP": "true",
    }


def test_store_with_a_key_takes_nothing_of_the_environment(
    two_stores: tuple[UserStore, UserStore], in_front_of: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = two_stores
    proxy, elsewhere = in_front_of(store), in_front_of(other)
    environment = ambient(elsewhere.url)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with client_for(store.url, store.config(proxy.url), environment) as client:
        assert set(listed(client)) == {"a"}
    assert key_ids(proxy) == {store.server.secret["AWS_ACCESS_KEY_ID"]}
    assert not any("x-amz-security-token" in one.request.headers for one in proxy.passed)
    assert not elsewhere.passed


def test_ambient_identity_goes_to_the_endpoint_of_its_environment(
    get_server: GetServer, in_front_of: Start, tmp_path: Path
) -> None:
    server = get_server("moto")
    store = UserStore(server, server.new_container(), tmp_path)
    server.fill(store.container, {"a": b"1"})
    proxy = in_front_of(store)
    config = write_config(tmp_path / "stores.yaml", {"prefix": "s3://another-bucket", "region": "eu-west-1"})
    with client_for(store.url, config, ambient(proxy.url)) as client:
        assert set(listed(client)) == {"a"}
    assert key_ids(proxy) == {"AMBIENTKEY"}
    assert {one.request.headers.get("x-amz-security-token") for one in proxy.passed} == {"ambient-token"}


def test_requests_name_the_bucket_in_their_path(store: UserStore, in_front_of: Start) -> None:
    store.server.fill(store.container, {"a": b"1"})
    proxy = in_front_of(store)
    with store.client(proxy) as client:
        assert client.head("a")
        assert set(listed(client)) == {"a"}
    # a path outside the bucket would stay whole
    assert {one.request.key for one in proxy.passed} == {"a", ""}
    assert {one.request.headers["host"] for one in proxy.passed} == {proxy.url.removeprefix("http://")}


def test_sas_token_reads_a_container(get_server: GetServer, in_front_of: Start, tmp_path: Path) -> None:
    server = get_server("azurite")
    store = UserStore(server, server.new_container(), tmp_path)
    server.fill(store.container, {"a": b"1"})
    sas = account_sas(server.secret["AZURE_STORAGE_ACCOUNT_KEY"], "rl")
    proxy = in_front_of(store)
    with store.client(proxy, secret={"AZURE_STORAGE_SAS_TOKEN": f"?{sas}"}) as client:
        assert set(listed(client)) == {"a"}
    assert all("sig" in one.request.query for one in proxy.passed)


def test_account_of_the_environment_is_used_where_an_entry_has_none(get_server: GetServer, tmp_path: Path) -> None:
    server = get_server("azurite")
    store = UserStore(server, server.new_container(), tmp_path)
    server.fill(store.container, {"a": b"1"})
    with client_for(store.url, store.config(account=None), {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT}) as client:
        assert set(listed(client)) == {"a"}


def test_rotated_key_arrives(two_stores: tuple[UserStore, UserStore]) -> None:
    store, _ = two_stores
    rotated: list[str] = []

    def rotate(sentence: str) -> None:
        rotated.append(sentence)
        store.entry()

    stale = {**store.server.secret, "AWS_SECRET_ACCESS_KEY": "of-yesterday"}
    with store.client(secret=stale, options={"on_wait": rotate}) as client:
        assert set(listed(client)) == {"a"}
    assert len(rotated) == 1
    assert "HTTP 403, SignatureDoesNotMatch" in rotated[0]
