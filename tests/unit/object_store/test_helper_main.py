"""Refusals, certificates, and proxies, as the library reports them in the helper."""

from __future__ import annotations

import datetime
import ipaddress
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.unit.object_store.clients import AT_ONCE, QUICK, SCHEMES, client_of, connection_to, secret_in
from tests.unit.object_store.stub_server import Answer, Seen, StubServer, refusal, serving

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.object_store.client import StoreClient
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.retries import RetryPolicy

LATE = "2099-01-01T00:00:00Z"
LOCAL = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def failed(connection: StoreConnection) -> TaskError:
    """Return the error of a look-up that is given up at once."""
    with StoreClient(connection, policy=AT_ONCE) as client, pytest.raises(TaskError) as caught:
        client.head("k")
    return caught.value


def certificate(directory: Path, name: x509.GeneralName, days: float = 1.0) -> tuple[str, str]:
    """Write a key with a certificate that it has signed itself; return the file, and the certificate in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / "certificate.pem"
    file.write_bytes(pem + private)
    return str(file), pem.decode()


@pytest.mark.parametrize(
    ("scheme", "status", "code", "right"),
    [
        ("s3", 403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("s3", 403, "RequestTimeTooSkewed", "clock"),
        ("s3", 400, "AuthorizationHeaderMalformed", "region"),
        ("s3", 301, "PermanentRedirect", "region"),
        ("s3", 404, "NoSuchBucket", "bucket"),
        ("s3", 404, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("gs", 401, "AuthenticationRequired", "GOOGLE_SERVICE_ACCOUNT_KEY"),
        ("gs", 403, "AccessDenied", "storage.objects.get"),
        ("az", 403, "AuthenticationFailed", "AZURE_STORAGE_SAS_TOKEN"),
        ("az", 404, "ContainerNotFound", "container"),
    ],
)
def test_refusal_of_a_look_up_and_of_a_listing_is_explained(
    tmp_path: Path, scheme: str, status: int, code: str, right: str
) -> None:
    with serving(b={}) as server, client_of(server, tmp_path, scheme, policy=AT_ONCE) as client:
        server.plan = lambda _: refusal(status, code)
        with pytest.raises(InvalidInput, match=f"^{scheme}://b/k: .*{right}"):
            client.head("k")
        with pytest.raises(InvalidInput, match=f"^{scheme}://b/k: listing failed .*{right}"):
            list(client.list("k"))


def test_private_ca_is_trusted_only_where_it_is_given(tmp_path: Path) -> None:
    file, pem = certificate(tmp_path, LOCAL)
    with serving(file, b={"k": b"x"}) as server:
        error = failed(connection_to(server, tmp_path))
        with StoreClient(connection_to(server, tmp_path, ca_bundle=pem)) as client:
            assert client.head("k") is not None
    assert isinstance(error, InvalidInput)
    assert "set caBundle" in str(error)


def test_private_ca_of_the_environment_is_trusted(tmp_path: Path) -> None:
    file, pem = certificate(tmp_path, LOCAL)
    (tmp_path / "ca.pem").write_text(pem)
    with serving(file, b={"k": b"x"}) as server:
        connection = connection_to(server, tmp_path, environment={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
        with StoreClient(connection, policy=AT_ONCE) as client:
            assert client.head("k") is not None


@pytest.mark.parametrize(
    ("name", "days", "right"), [(x509.DNSName("other.test"), 1.0, "another name"), (LOCAL, -1.0, "expired.*clock")]
)
def test_certificate_that_does_not_fit_is_explained(
    tmp_path: Path, name: x509.GeneralName, days: float, right: str
) -> None:
    file, pem = certificate(tmp_path, name, days)
    with serving(file, b={}) as server, pytest.raises(InvalidInput, match=right):
        raise failed(connection_to(server, tmp_path, ca_bundle=pem))


def test_bundle_without_a_valid_certificate_is_refused(tmp_path: Path) -> None:
    bundle = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with serving(b={}) as server, pytest.raises(InvalidInput, match="caBundle has no valid certificate"):
        raise failed(connection_to(server, tmp_path, ca_bundle=bundle))


def test_https_to_a_server_without_tls_is_explained(tmp_path: Path) -> None:
    with serving(b={}) as server, pytest.raises(InvalidInput, match="doesn't answer with TLS"):
        raise failed(connection_to(server, tmp_path, endpoint=server.url.replace("http", "https")))


def test_server_that_is_not_a_store_is_explained(tmp_path: Path) -> None:
    with serving(b={}) as server, client_of(server, tmp_path, policy=AT_ONCE) as client:
        server.plan = lambda _: Answer(200, b"<!DOCTYPE html><html><p>Log in")
        with pytest.raises(InvalidInput, match="doesn't answer like an object store"):
            list(client.list("k"))


ANYTHING = Answer(200, b"<?xml version='1.0'?><html><body>Log in</body></html>", {"Content-Type": "text/html"})


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("recursive", [True, False])
def test_listing_by_a_server_that_answers_anything_is_not_empty(tmp_path: Path, scheme: str, recursive: bool) -> None:
    with serving(b={}) as server, client_of(server, tmp_path, scheme, policy=AT_ONCE) as client:
        server.plan = lambda _: ANYTHING
        with pytest.raises(InvalidInput, match="doesn't answer like an object store"):
            list(client.list("k", recursive=recursive))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_look_up_by_a_server_that_answers_anything_finds_nothing(tmp_path: Path, scheme: str) -> None:
    with serving(b={}) as server, client_of(server, tmp_path, scheme, policy=AT_ONCE) as client:
        server.plan = lambda _: ANYTHING
        with pytest.raises(InvalidInput, match="doesn't answer like an object store"):
            client.head("k")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_redirect_to_a_page_is_not_an_answer_of_a_store(tmp_path: Path, scheme: str) -> None:
    with serving() as portal, serving(b={}) as server, client_of(server, tmp_path, scheme, policy=AT_ONCE) as client:
        portal.plan = lambda _: ANYTHING
        server.plan = lambda _: Answer(302, headers={"Location": f"{portal.url}/login"})
        with pytest.raises(InvalidInput, match="doesn't answer like an object store"):
            list(client.list("k"))
        with pytest.raises(InvalidInput, match="doesn't answer like an object store"):
            client.head("k")
        assert portal.seen


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("status", [403, 404])
def test_listing_may_be_empty_where_objects_may_not_be_read(tmp_path: Path, scheme: str, status: int) -> None:
    with serving(b={}) as server, client_of(server, tmp_path, scheme, policy=AT_ONCE) as client:
        server.plan = lambda seen: None if seen.is_list else Answer(status)
        assert list(client.list("k")) == []


def test_name_that_is_unknown_may_be_known_later(tmp_path: Path) -> None:
    with serving(b={}) as server, pytest.raises(TryAgain, match="the name of http://store.invalid is unknown"):
        raise failed(connection_to(server, tmp_path, endpoint="http://store.invalid"))


def test_proxy_is_used_and_its_refusal_is_explained(tmp_path: Path) -> None:
    with serving() as proxy:
        proxy.plan = lambda _: Answer(407)
        connection = connection_to(
            proxy, tmp_path, endpoint="http://store.invalid", environment={"HTTP_PROXY": proxy.url}
        )
        with pytest.raises(InvalidInput, match="HTTPS_PROXY"):
            raise failed(connection)
        assert proxy.seen


def test_missing_key_of_a_secret_is_named(tmp_path: Path) -> None:
    secret = secret_in(tmp_path / "x", "s3", OTHER="x")
    with serving(b={}) as server, pytest.raises(InvalidInput, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        raise failed(connection_to(server, tmp_path, secret_dir=secret))


@pytest.mark.parametrize(
    ("scheme", "keys"),
    [
        ("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"private_key": "SECRETKEY"'}),
        ("az", {"AZURE_STORAGE_ACCOUNT_KEY": "not base64: SECRETKEY"}),
        ("az", {"AZURE_STORAGE_SAS_TOKEN": "SECRETKEY"}),
    ],
)
def test_key_that_the_library_cannot_read_is_refused_without_its_value(
    tmp_path: Path, scheme: str, keys: dict[str, str]
) -> None:
    secret = secret_in(tmp_path / "x", scheme, **keys)
    with serving(b={}) as server, pytest.raises(InvalidInput, match=next(iter(keys))) as caught:
        raise failed(connection_to(server, tmp_path, scheme, secret_dir=secret))
    assert "SECRETKEY" not in str(caught.value)


def without_an_identity(server: StubServer, metadata: str, directory: Path) -> StoreClient:
    """Return a client with the identity of this machine, whose metadata are at a URL, and times that don't pass."""
    connection = connection_to(server, directory, secret_dir=None, environment={"AWS_METADATA_ENDPOINT": metadata})
    return StoreClient(connection, policy=RetryPolicy(first_wait=1000.0, longest_wait=1000.0))


def test_machine_without_an_identity_is_refused_at_once(tmp_path: Path) -> None:
    with serving(b={}) as server, serving() as metadata:
        metadata.plan = lambda _: Answer(404)
        client = without_an_identity(server, metadata.url, tmp_path)
        with client, pytest.raises(InvalidInput, match="no usable identity was found"):
            client.head("k")
        assert metadata.seen
        assert not server.seen


def test_machine_without_metadata_is_refused_at_once(tmp_path: Path) -> None:
    with serving() as closed:
        url = closed.url
    with serving(b={}) as server:
        client = without_an_identity(server, url, tmp_path)
        with client, pytest.raises(InvalidInput, match="no usable identity was found"):
            client.head("k")


def test_pod_without_an_identity_waits_for_one(tmp_path: Path) -> None:
    found = {"Code": "Success", "AccessKeyId": "LATEID", "SecretAccessKey": "x", "Token": "t", "Expiration": LATE}

    def answer(seen: Seen) -> Answer:
        if len(metadata.seen) == 1:
            return Answer(404)
        token = seen.path.endswith("/token")
        content = "token" if token else "role" if seen.path.endswith("/") else json.dumps(found)
        return Answer(200, content.encode())

    with serving(b={"k": b"x"}) as server, serving() as metadata:
        metadata.plan = answer
        environment = {"AWS_METADATA_ENDPOINT": metadata.url}
        connection = connection_to(server, tmp_path, secret_dir=None, environment=environment, in_pod=True)
        with StoreClient(connection, policy=QUICK) as client:
            assert client.head("k") is not None
        assert "Credential=LATEID/" in server.seen[0].headers["authorization"]


def test_variables_without_a_key_are_refused_at_once(tmp_path: Path) -> None:
    with serving(b={}) as server:
        environment = {"AWS_ACCESS_KEY_ID": "ONLYTHEID"}
        connection = connection_to(server, tmp_path, secret_dir=None, environment=environment, in_pod=True)
        with StoreClient(connection) as client, pytest.raises(InvalidInput, match="no usable identity was found"):
            client.head("k")
