"""Search for keys in whatever leaves the helper: errors, logs, processes, the cache, and records of inputs.

Each kind of identity is used with a proxy that has a password, on servers that answer, fail, and echo what they get.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.object_store.clients import AT_ONCE, QUICK, connection_to, secret_in
from tests.unit.object_store.identities import (
    PROXY_PASSWORD,
    Identity,
    files_of,
    found_in,
    identities,
    sent_secrets,
    visible_of,
)
from tests.unit.object_store.stub_server import Answer, Plan, Seen, StubServer, etag_of, refusal, serving

from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.object_store.client import ObjectInfo, StoreClient
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.fence.records import ObjectVersion
from maskrcnn_trainer.object_store.writing import Upload
from maskrcnn_trainer.staging.cache_names import cached_name
from maskrcnn_trainer.staging.cache_owner import CacheOwner
from maskrcnn_trainer.staging.inputs_record import inputs_file, inputs_summary
from maskrcnn_trainer.staging.loading import load_planned
from maskrcnn_trainer.staging.object_cache import ObjectCache
from maskrcnn_trainer.staging.plan import NeededObject

KINDS = identities()
NAMED_IN_LINKS = ("AKIDOFTHEIDENTITY", "token+of/the//session==")
"""Key id and session token, which a link of S3 contains by design."""
CONTENT = b"content of the object"
INFO = ObjectInfo("d/k", len(CONTENT), etag_of(CONTENT))


def echoed(seen: Seen, code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>{seen.path} {seen.query} {seen.headers}</Message></Error>"


def refused_with_all_that_was_sent(seen: Seen) -> Answer:
    return Answer(403, echoed(seen, "AccessDenied").encode())


def failed_with_all_that_was_sent(seen: Seen) -> Answer:
    return Answer(500, echoed(seen, "InternalError").encode())


def refused_with_a_key_as_its_code(seen: Seen) -> Answer:
    """Return a refusal whose code is the identity that the request names."""
    code = seen.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
    return Answer(403, echoed(seen, code or "AccessDenied").encode())


def listed_with_all_that_was_sent(seen: Seen) -> Answer:
    """Return an answer with success that isn't that of a store."""
    return Answer(200, f"<html>{seen.path} {seen.query} {seen.headers}</html>".encode())


PLANS: dict[str, Plan] = {
    "refused": refused_with_all_that_was_sent,
    "refused with a key as its code": refused_with_a_key_as_its_code,
    "failed": failed_with_all_that_was_sent,
    "not a store": listed_with_all_that_was_sent,
    "throttled": lambda _: refusal(503, "SlowDown"),
    "reset": lambda _: Answer(200, cut=0),
    "refused by the proxy": lambda seen: Answer(407, str(seen.headers).encode()),
}


def stage(client: StoreClient, root: Path) -> None:
    """List objects, stage them by way of a cache in a directory, and write the records next to it."""
    listed = list(client.list("d"))
    needed = [NeededObject(one, cached_name("store", one.key, one.etag, one.size), one.key) for one in listed]
    with CacheOwner(root / "cache") as owner:
        cache = ObjectCache(root / "cache", owner)

        def link(one: NeededObject) -> None:
            assert cache.stage(one.name, cache.staged(0) / one.place)

        load_planned(needed, client, cache, on_whole=link)
        (root / "copy of the owner").write_text(files_of(owner.directory), encoding="utf-8")
    (root / "result.json").write_text(json.dumps({"inputs": {"s3://b/d": inputs_summary(listed)}}))
    (root / "inputs.json").write_bytes(gzip.decompress(inputs_file({"s3://b/d": listed})))


def upload(client: StoreClient, root: Path) -> None:
    """Write an object from a file."""
    (root / "upload").write_bytes(CONTENT)
    for _ in client.upload([Upload("d/k", root / "upload", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())]):
        pass


USES: tuple[Callable[[StoreClient, Path], object], ...] = (
    lambda client, _: client.head("d/k"),
    lambda client, root: client.get_to_file(INFO, root / "file"),
    lambda client, _: client.create("d/k", CONTENT),
    lambda client, _: client.update("d/k", CONTENT, ObjectVersion('"e"', "1")),
    stage,
)


def connection_of(server: StubServer, identity: Identity, directory: Path) -> StoreConnection:
    """Return a connection by way of a proxy with a password, which is the server itself."""
    proxy = server.url.replace("http://", f"http://user:{PROXY_PASSWORD.replace('/', '%2F')}@")
    secret = secret_in(directory / "secret", identity.scheme, **identity.files) if identity.files else None
    environment = {**identity.environment, "HTTP_PROXY": proxy}
    return connection_to(
        server,
        directory,
        identity.scheme,
        endpoint="http://store.test",
        secret_dir=secret,
        environment=environment,
    )


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return a function that returns what was logged at any level and printed, by helpers, too."""
    caplog.set_level(logging.DEBUG)

    def text() -> str:
        output = capfd.readouterr()
        return "\n".join([caplog.text, output.out, output.err])

    return text


@pytest.mark.parametrize("kind", KINDS)
def test_staged_inputs_hold_no_key(tmp_path: Path, kind: str, logged: Callable[[], str]) -> None:
    identity = KINDS[kind]
    root = tmp_path / "root"
    root.mkdir()
    with serving(b={"d/k": CONTENT, "d/l": b""}) as server:
        connection = connection_of(server, identity, tmp_path)
        with StoreClient(connection, policy=QUICK) as client:
            stage(client, root)
            assert client.pid
            processes = visible_of(client.pid)
        secrets = [*identity.secrets, PROXY_PASSWORD, *sent_secrets(server.seen)]
        assert all("proxy-authorization" in seen.headers for seen in server.seen)
    assert any(path.read_bytes() == CONTENT for path in (root / "cache").rglob("*") if path.is_file())
    assert found_in("\n".join([files_of(root), processes, repr(connection), logged()]), secrets) == []


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("kind", KINDS)
def test_failures_show_no_key(tmp_path: Path, kind: str, plan: str, logged: Callable[[], str]) -> None:
    identity = KINDS[kind]
    root = tmp_path / "root"
    root.mkdir()
    shown: list[str] = []
    with serving(b={"d/k": CONTENT}) as server:
        server.plan = PLANS[plan]
        connection = connection_of(server, identity, tmp_path)
        with StoreClient(connection, policy=AT_ONCE, on_wait=shown.append) as client:
            for use in USES:
                with pytest.raises(TaskError) as caught:
                    use(client, root)
                shown += traceback.format_exception(caught.value)
                assert client.pid
                shown.append(visible_of(client.pid))
        secrets = [*identity.secrets, PROXY_PASSWORD, *sent_secrets(server.seen)]
        assert server.seen
    assert found_in("\n".join([*shown, files_of(root), logged()]), secrets) == []


@pytest.mark.parametrize("plan", ["refused", "failed"])
@pytest.mark.parametrize("use", [upload, lambda client, _: list(client.delete(["d/k"]))])
def test_failed_uploads_and_deletions_show_no_key(
    tmp_path: Path, use: Callable[[StoreClient, Path], object], plan: str, logged: Callable[[], str]
) -> None:
    identity = KINDS["static keys"]
    shown: list[str] = []
    with serving(b={"d/k": CONTENT}) as server:
        server.plan = PLANS[plan]
        connection = connection_of(server, identity, tmp_path)
        with StoreClient(connection, policy=AT_ONCE, on_wait=shown.append) as client:
            try:
                shown.append(repr(use(client, tmp_path)))
            except TaskError as error:
                shown += traceback.format_exception(error)
        secrets = [*identity.secrets, PROXY_PASSWORD, *sent_secrets(server.seen)]
        assert server.seen
    assert found_in("\n".join([*shown, logged()]), secrets) == []


@pytest.mark.parametrize("kind", KINDS)
def test_link_has_no_key_but_its_signature(tmp_path: Path, kind: str, logged: Callable[[], str]) -> None:
    identity = KINDS[kind]
    with serving(b={}) as server:
        connection = connection_of(server, identity, tmp_path)
        with StoreClient(connection, policy=AT_ONCE) as client:
            try:
                text = client.link("d/k", 3600)
            except TaskError as error:
                assert kind == "SAS token"
                text = "".join(traceback.format_exception(error))
    hidden = [secret for secret in identity.secrets if secret not in NAMED_IN_LINKS]
    assert found_in(text + logged(), [*hidden, PROXY_PASSWORD]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_unreachable_store_shows_no_key(tmp_path: Path, kind: str, logged: Callable[[], str]) -> None:
    identity = KINDS[kind]
    with serving() as server:
        connection = connection_of(server, identity, tmp_path)
    shown: list[str] = []
    with StoreClient(connection, policy=AT_ONCE) as client, pytest.raises(TaskError) as caught:
        client.head("d/k")
    shown += traceback.format_exception(caught.value)
    assert found_in("\n".join([*shown, logged()]), [*identity.secrets, PROXY_PASSWORD]) == []


def test_application_of_azure_shows_no_secret_when_it_cannot_sign_in(tmp_path: Path, logged: Callable[[], str]) -> None:
    files = {
        "AZURE_CLIENT_ID": "id-of-the-application",
        "AZURE_CLIENT_SECRET": "secret~of~the~application",
        "AZURE_TENANT_ID": "id-of-the-tenant",
    }
    with serving(b={}) as server:
        secret = secret_in(tmp_path / "secret", "az", **files)
        # the sign-in is at a host of the provider: a proxy that refuses takes its place
        environment = {"HTTPS_PROXY": server.url.replace("http://", f"http://user:{PROXY_PASSWORD[:8]}@")}
        connection = connection_to(server, tmp_path, "az", secret_dir=secret, environment=environment)
        server.plan = lambda seen: Answer(407, str(seen.headers).encode())
        with StoreClient(connection, policy=AT_ONCE) as client, pytest.raises(TaskError) as caught:
            client.head("d/k")
        assert client.pid is None
    text = "".join(traceback.format_exception(caught.value))
    assert found_in("\n".join([text, logged()]), [*files.values(), PROXY_PASSWORD[:8]]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_environment_that_others_can_read_has_no_variable_of_an_identity(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the variables of an ambient identity go to its helper as a message, and those of no other store
    identity = KINDS[kind]
    for name in ("AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "value-of-the-parent")
    for name, value in identity.environment.items():
        monkeypatch.setenv(name, value)
    with serving(b={"d/k": CONTENT}) as server, StoreClient(connection_of(server, identity, tmp_path)) as client:
        assert client.head("d/k") == INFO
        assert client.pid
        helper, parent = visible_of(client.pid), visible_of(os.getpid())
    assert found_in(helper + parent, [*identity.secrets, PROXY_PASSWORD, "value-of-the-parent"]) == []
    names = {line.partition("=")[0] for line in helper.split("\0") if "=" in line}
    assert not [name for name in names if name.startswith(("AWS_", "AZURE_", "GOOGLE_")) or "PROXY" in name.upper()]


def test_search_finds_a_key_in_each_form() -> None:
    secret = "a+b/c=d%2Fe f"  # noqa: S105 - made up
    for text in (secret, "a%2Bb%2Fc%3Dd%252Fe%20f", "a+b/c=d/e f", "YStiL2M9ZCUyRmUgZg=="):
        assert found_in(f"x{text}y", [secret])
    assert not found_in("nothing of it", [secret])
