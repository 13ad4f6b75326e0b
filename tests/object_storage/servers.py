"""Servers of object storage: moto, versitygw, Azurite, and the stub for Cloud Storage."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import obstore
from obstore.store import AzureStore, GCSStore, S3Store
from tests.object_storage.gcs_stub import serving_gcs
from tests.object_storage.installs import InstallError, azurite_folder, moto_python, versitygw_program

ACCOUNT = "lab"
REGION = "us-east-1"
START_SECONDS = 60
_CONTAINERS = itertools.count(1)


@dataclass(frozen=True)
class ObjectServer:
    """A running server.

    Attributes:
        name: of the program.
        scheme: of its URLs.
        address: URL without a path.
        secret: files of a Secret with its keys, by name.
        make: creates a bucket or container.
        put_raw: stores an object under a key that the library refuses; None: the server has no such keys.
        shift_clock: shifts the times of further writes by seconds; None: the server has the clock of this machine.
        stores: the library's stores that were used, by container.
    """

    name: str
    scheme: str
    address: str
    secret: Mapping[str, str]
    make: Callable[[str], None]
    put_raw: Callable[[str, str, bytes], None] | None = None
    shift_clock: Callable[[int], None] | None = None
    stores: dict[str, S3Store | AzureStore | GCSStore] = field(default_factory=dict, compare=False, repr=False)

    def endpoint(self, address: str | None = None) -> str:
        """Return the endpoint of a store, at the server or at the proxy with an address."""
        return (address or self.address) + (f"/{ACCOUNT}" if self.scheme == "az" else "")

    def root(self, container: str) -> str:
        """Return the path of a container."""
        return f"/{ACCOUNT}/{container}" if self.scheme == "az" else f"/{container}"

    def new_container(self) -> str:
        """Create an empty bucket or container, and return its name."""
        name = f"data-{next(_CONTAINERS)}-{secrets.token_hex(3)}"
        self.make(name)
        return name

    def fill(self, container: str, objects: Mapping[str, bytes]) -> None:
        """Store objects."""
        store = _store(self, container)
        for key, content in objects.items():
            obstore.put(store, key, content, use_multipart=False)

    def read(self, container: str, key: str) -> bytes:
        """Return the content of an object."""
        return bytes(obstore.get(_store(self, container), key).bytes())

    def keys(self, container: str, prefix: str) -> list[str]:
        """Return the keys below a prefix of whole segments, in order."""
        return sorted(info["path"] for page in obstore.list(_store(self, container), prefix) for info in page)

    def delete(self, container: str, key: str) -> None:
        """Delete an object."""
        obstore.delete(_store(self, container), key)


def _store(server: ObjectServer, container: str) -> S3Store | AzureStore | GCSStore:
    return server.stores.get(container) or server.stores.setdefault(container, _new_store(server, container))


def _new_store(server: ObjectServer, container: str) -> S3Store | AzureStore | GCSStore:
    client: Any = {"allow_http": True}
    if server.scheme == "gs":
        key = server.secret["GOOGLE_SERVICE_ACCOUNT_KEY"]
        gcs: Any = {"service_account_key": key, "base_url": server.address}
        return GCSStore(container, config=gcs, client_options=client)
    if server.scheme == "az":
        azure: Any = {
            "account_name": ACCOUNT,
            "account_key": server.secret["AZURE_STORAGE_ACCOUNT_KEY"],
            "endpoint": server.endpoint(),
        }
        return AzureStore(container, config=azure, client_options=client)
    s3: Any = {
        "access_key_id": server.secret["AWS_ACCESS_KEY_ID"],
        "secret_access_key": server.secret["AWS_SECRET_ACCESS_KEY"],
        "endpoint": server.address,
        "region": REGION,
        "virtual_hosted_style_request": "false",
    }
    return S3Store(container, config=s3, client_options=client)


def moto_command(port: int) -> list[str]:
    """Return the command line of moto on a port of the loopback.

    Raises:
        InstallError: it can't be installed.
    """
    # otherwise the first label of a host such as store.team.svc would be the bucket
    by_path = "S3_IGNORE_SUBDOMAIN_BUCKETNAME=true"
    # not by its console script, whose first line has the path of before the rename
    return ["env", by_path, str(moto_python()), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def moto_at(port: int) -> ObjectServer:
    """Return moto on a port of the loopback; it doesn't check keys."""
    address = f"http://127.0.0.1:{port}"

    def put(container: str, key: str = "", content: bytes = b"") -> None:
        _request("PUT", f"{address}/{container}" + (f"/{quote(key, safe='/')}" if key else ""), content)

    return ObjectServer("moto", "s3", address, _s3_secret("moto"), put, put)


@contextmanager
def moto() -> Iterator[ObjectServer]:
    """Run moto."""
    port = free_port()
    with _running("moto", moto_command(port), port, {}):
        yield moto_at(port)


@contextmanager
def versitygw(name: str = "versitygw") -> Iterator[ObjectServer]:
    """Run versitygw with a key of its own."""
    port = free_port()
    secret = _s3_secret(name)
    variables = {
        "ROOT_ACCESS_KEY_ID": secret["AWS_ACCESS_KEY_ID"],
        "ROOT_SECRET_ACCESS_KEY": secret["AWS_SECRET_ACCESS_KEY"],
        "ROOT_ACCESS_KEY": secret["AWS_ACCESS_KEY_ID"],
        "ROOT_SECRET_KEY": secret["AWS_SECRET_ACCESS_KEY"],
    }
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="versitygw-") as folder:
        command = [str(versitygw_program()), "--port", f"127.0.0.1:{port}", "--quiet", "posix", folder]

        def make(container: str) -> None:
            store = S3Store(
                container,
                config={
                    "access_key_id": secret["AWS_ACCESS_KEY_ID"],
                    "secret_access_key": secret["AWS_SECRET_ACCESS_KEY"],
                    "endpoint": address,
                    "region": REGION,
                },
                client_options={"allow_http": True},
            )
            _request("PUT", obstore.sign(store, "PUT", "", timedelta(minutes=5)), b"")

        with _running("versitygw", command, port, variables):
            yield ObjectServer(name, "s3", address, secret, make)


@contextmanager
def azurite() -> Iterator[ObjectServer]:
    """Run Azurite's blob service with an account of its own."""
    port = free_port()
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    node = shutil.which("node")
    if node is None:
        raise InstallError("azurite needs node: install Node.js 20 or newer")
    address = f"http://127.0.0.1:{port}"
    sas = account_sas(key)

    def make(container: str) -> None:
        _request("PUT", f"{address}/{ACCOUNT}/{container}?restype=container&{sas}", b"")

    def put(container: str, blob: str, content: bytes) -> None:
        url = f"{address}/{ACCOUNT}/{container}/{quote(blob, safe='/')}?{sas}"
        _request("PUT", url, content, {"x-ms-blob-type": "BlockBlob"})

    with tempfile.TemporaryDirectory(prefix="azurite-") as folder:
        program = azurite_folder() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        command = [
            *(node, str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder),
            *("--silent", "--skipApiVersionCheck", "--disableTelemetry"),
        ]
        with _running("azurite", command, port, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}):
            yield ObjectServer("azurite", "az", address, {"AZURE_STORAGE_ACCOUNT_KEY": key}, make, put)


@contextmanager
def gcs() -> Iterator[ObjectServer]:
    """Run the stub for Cloud Storage."""
    with serving_gcs() as stub:

        def make(bucket: str) -> None:
            stub.buckets[bucket] = {}

        def put(bucket: str, key: str, content: bytes) -> None:
            with stub.lock:
                stub.put(bucket, key, content)

        def shift_clock(seconds: int) -> None:
            stub.clock_shift = seconds

        secret = {"GOOGLE_SERVICE_ACCOUNT_KEY": stub.account}
        yield ObjectServer("gcs", "gs", stub.url, secret, make, put, shift_clock)


SERVERS = {"moto": moto, "versitygw": versitygw, "azurite": azurite, "gcs": gcs}


def account_sas(key: str, permissions: str = "rwdlac") -> str:
    """Return a SAS token of the account, valid for a day.

    Its text is signed as "Create an account SAS" of Azure's REST API describes.
    """
    now = time.time()
    start, end = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + offset)) for offset in (-3600, 86400))
    version = "2022-11-02"
    text = "\n".join([ACCOUNT, permissions, "b", "sco", start, end, "", "", version, "", ""])
    signature = hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)
    return urlencode(
        {"sv": version, "ss": "b", "srt": "sco", "sp": permissions, "st": start, "se": end}
        | {"sig": base64.b64encode(signature).decode()}
    )


def _s3_secret(name: str) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": f"{name}key".upper(), "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(24)}


def _request(method: str, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    assert 200 <= answer.status < 300, f"{method} {parts.path}: {answer.status} {text!r}"


def free_port() -> int:
    """Return a free port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def _running(name: str, command: list[str], port: int, variables: Mapping[str, str]) -> Iterator[None]:
    """Run a server until its port answers, and end it afterwards."""
    ambient = ("AWS_", "AZURE_", "GOOGLE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ambient)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**environment, **variables}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise InstallError(f"{name} didn't start: {log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(port: int) -> bool:
    """Return whether a port of the loopback takes connections."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
