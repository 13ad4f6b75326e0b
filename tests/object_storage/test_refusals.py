"""Refusals that a user has to correct: each is one sentence with the URL and the remedy, and ends with 64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.object_storage.certificates import write_certificate
from tests.object_storage.conftest import GetServer
from tests.object_storage.documented import DOCUMENTED, SECRET_IN_ANSWERS, Documented
from tests.object_storage.gcs_stub import new_account
from tests.object_storage.proxy import Answer, Fault, FaultProxy
from tests.object_storage.user_stores import UserStore, client_for, listed, write_config
from tests.unit.object_store.clients import AT_ONCE

from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.object_store.client import ObjectInfo, StoreClient, parts_of

OF_SCHEME = {"s3": "moto", "gs": "gcs", "az": "azurite"}
GIVEN_UP: dict[str, Any] = {"policy": AT_ONCE}


def head(client: StoreClient) -> None:
    client.head("folder/k")


def list_all(client: StoreClient) -> None:
    listed(client, "folder")


def read(client: StoreClient) -> None:
    list(client.fetch(parts_of(ObjectInfo("folder/k", 1, ""), Path("/dev/null"))))


OPERATIONS = {"head": head, "list": list_all, "read": read}


def refused(client: StoreClient, operation: Callable[[StoreClient], None]) -> str:
    """Return the sentence of an operation that ends with 64."""
    with client, pytest.raises(TaskError) as caught:
        operation(client)
    assert caught.value.exit_code == 64, caught.value
    text = str(caught.value)
    assert "\n" not in text and not text.endswith(".")
    assert "failed" in text.partition(": ")[2], "the sentence begins with the URL"
    return text


def store_at(get_server: GetServer, name: str, directory: Path) -> UserStore:
    server = get_server(name)
    store = UserStore(server, server.new_container(), directory)
    server.fill(store.container, {"folder/k": b"x"})
    return store


@pytest.fixture(params=list(DOCUMENTED))
def documented(request: pytest.FixtureRequest) -> Documented:
    return DOCUMENTED[request.param]


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_documented_refusal_is_explained(
    documented: Documented,
    operation: str,
    get_server: GetServer,
    in_front_of: Callable[..., FaultProxy],
    tmp_path: Path,
) -> None:
    store = store_at(get_server, OF_SCHEME[documented.scheme], tmp_path)
    proxy = in_front_of(store)
    proxy.faults = [Fault(lambda _: True, times=None, answer=documented.answer)]
    text = refused(store.client(proxy, options=GIVEN_UP), OPERATIONS[operation])
    assert text.startswith(f"{store.url}/folder")
    assert documented.right in text
    assert SECRET_IN_ANSWERS not in text
    assert not any(value in text for value in store.server.secret.values())


@pytest.mark.parametrize("name", ["versitygw", "azurite", "gcs"])
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_wrong_key_is_refused_by_the_server(get_server: GetServer, tmp_path: Path, name: str, operation: str) -> None:
    store = store_at(get_server, name, tmp_path)
    wrong, right = {
        "versitygw": ({**store.server.secret, "AWS_SECRET_ACCESS_KEY": "another"}, "AWS_SECRET_ACCESS_KEY"),
        # Azurite answers AuthorizationFailure, where Azure answers AuthenticationFailed
        "azurite": ({"AZURE_STORAGE_ACCOUNT_KEY": "YW5vdGhlciBrZXk="}, "permission was refused"),
        "gcs": ({"GOOGLE_SERVICE_ACCOUNT_KEY": new_account()}, "GOOGLE_SERVICE_ACCOUNT_KEY in the store's secret"),
    }[name]
    text = refused(store.client(secret=wrong, options=GIVEN_UP), OPERATIONS[operation])
    assert text.startswith(f"{store.url}/folder")
    assert right in text
    assert not any(value in text for value in wrong.values())


def test_unknown_key_id_is_refused_by_the_server(get_server: GetServer, tmp_path: Path) -> None:
    store = store_at(get_server, "versitygw", tmp_path)
    wrong = {**store.server.secret, "AWS_ACCESS_KEY_ID": "AKIDOFNOBODY"}
    text = refused(store.client(secret=wrong, options=GIVEN_UP), list_all)
    assert "AWS_ACCESS_KEY_ID" in text
    assert "AKIDOFNOBODY" not in text


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_wrong_bucket_is_refused_by_the_server(store: UserStore, tmp_path: Path, operation: str) -> None:
    absent = UserStore(store.server, "absent-bucket", tmp_path)
    text = refused(absent.client(options=GIVEN_UP), OPERATIONS[operation])
    assert text.startswith(f"{absent.url}/folder")
    assert ("container's name" if store.server.scheme == "az" else "bucket's name") in text


@pytest.fixture
def served_by_tls(
    get_server: GetServer, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> Iterator[tuple[UserStore, FaultProxy, str]]:
    """Return a store, a proxy with a certificate of a private CA in front of it, and the CA in PEM."""
    store = store_at(get_server, "moto", tmp_path)
    certificate, authority = write_certificate(tmp_path)
    yield store, in_front_of(store, certificate=certificate), authority


def test_private_ca_is_trusted_when_it_is_given(served_by_tls: tuple[UserStore, FaultProxy, str]) -> None:
    store, proxy, authority = served_by_tls
    with store.client(proxy, caBundle=authority, allowHttp=None) as client:
        assert set(listed(client)) == {"folder/k"}
    assert proxy.lists()


def test_unknown_ca_is_refused(served_by_tls: tuple[UserStore, FaultProxy, str]) -> None:
    store, proxy, _ = served_by_tls
    text = refused(store.client(proxy, options=GIVEN_UP), list_all)
    assert "set caBundle to the CA's certificate in PEM" in text
    assert proxy.url in text
    assert not proxy.passed


def test_another_ca_is_refused(served_by_tls: tuple[UserStore, FaultProxy, str], tmp_path: Path) -> None:
    store, proxy, _ = served_by_tls
    (tmp_path / "another").mkdir()
    _, another = write_certificate(tmp_path / "another")
    text = refused(store.client(proxy, caBundle=another, options=GIVEN_UP), list_all)
    assert "can't be trusted" in text
    assert "set caBundle to its CA's" in text


def test_http_on_a_port_of_tls_is_refused(get_server: GetServer, tmp_path: Path) -> None:
    store = store_at(get_server, "moto", tmp_path)
    config = store.config(store.server.address.replace("http://", "https://"))
    assert "doesn't answer with TLS" in refused(client_for(store.url, config, **GIVEN_UP), list_all)


def test_endpoint_that_is_no_object_store_is_refused(
    get_server: GetServer, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    store = store_at(get_server, "moto", tmp_path)
    proxy = in_front_of(store)
    page = Answer(200, b"<html><body>Welcome</body></html>", {"Content-Type": "text/html"})
    proxy.faults = [Fault(lambda _: True, times=None, answer=page)]
    assert "doesn't answer like an object store" in refused(store.client(proxy, options=GIVEN_UP), read)


def test_refusal_after_an_answer_of_the_store_is_75(
    get_server: GetServer, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    store = store_at(get_server, "moto", tmp_path)
    proxy = in_front_of(store)
    with store.client(proxy, options=GIVEN_UP) as client:
        list_all(client)
        proxy.faults = [Fault(lambda _: True, times=None, answer=DOCUMENTED["s3-permission"].answer)]
        with pytest.raises(TaskError) as caught:
            read(client)
    assert caught.value.exit_code == 75


def test_permission_that_arrives_late_is_waited_for(
    get_server: GetServer, in_front_of: Callable[..., FaultProxy], tmp_path: Path
) -> None:
    store = store_at(get_server, "moto", tmp_path)
    proxy = in_front_of(store)
    proxy.faults = [Fault(lambda _: True, times=5, answer=DOCUMENTED["s3-permission"].answer)]
    with store.client(proxy) as client:
        assert set(listed(client)) == {"folder/k"}
    assert [one.status for one in proxy.passed] == [403] * 5 + [200]


def test_secret_without_its_keys_is_refused_by_their_names(get_server: GetServer, tmp_path: Path) -> None:
    store = store_at(get_server, "moto", tmp_path)
    entry = store.entry()
    (store.secret_dir / "AWS_SECRET_ACCESS_KEY").unlink()
    config = write_config(tmp_path / "stores.yaml", entry)
    text = refused(client_for(store.url, config, **GIVEN_UP), list_all)
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in text
