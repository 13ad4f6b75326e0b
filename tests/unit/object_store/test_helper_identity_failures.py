"""Failures of the sources of an identity, as the library reports them in the helper."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.object_store.clients import AT_ONCE, connection_to
from tests.unit.object_store.stub_server import Answer, Plan, StubServer, refusal, serving
from tests.unit.object_store.test_helper_main import LOCAL, certificate
from tests.unit.object_store.test_helper_web_identity import injected

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.object_store.client import StoreClient


@dataclass(frozen=True)
class Source:
    """Source of an identity.

    Attributes:
        scheme: of the stores that it is for.
        variables: of the environment; ``URL`` and ``HOST`` are those of the source.
        webhook: whose variables it has, too; empty: none.
        tls: whether the library reaches it by https only.
    """

    scheme: str
    variables: dict[str, str] = field(default_factory=dict)
    webhook: str = ""
    tls: bool = False


SOURCES = {
    "agent of EKS": Source(
        "s3", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "URL/v1/credentials"}, webhook="EKS Pod Identity"
    ),
    "token service of AWS": Source("s3", {"AWS_ENDPOINT_URL_STS": "URL"}, webhook="AWS role", tls=True),
    "metadata of EC2": Source("s3", {"AWS_METADATA_ENDPOINT": "URL"}),
    "token service of Azure": Source("az", {"AZURE_AUTHORITY_HOST": "URL"}, webhook="AKS"),
    "client secret of Azure": Source(
        "az",
        {
            "AZURE_AUTHORITY_HOST": "URL",
            "AZURE_CLIENT_ID": "i",
            "AZURE_TENANT_ID": "t",
            "AZURE_CLIENT_SECRET": "s",
        },
    ),
    "metadata of Azure": Source("az", {"AZURE_MSI_ENDPOINT": "URL/metadata/identity/oauth2/token"}),
    "metadata of Google": Source("gs", {"GCE_METADATA_HOST": "HOST", "GCE_METADATA_IP": "HOST"}),
}


def failed(
    name: str, directory: Path, url: str, *, trusted: str = "", in_pod: bool = True, read: bool = False
) -> TaskError:
    """Return the error of the look-up of an object that exists, with an identity of the source at a URL."""
    source = SOURCES[name]
    variables = {k: v.replace("URL", url).replace("HOST", url.partition("://")[2]) for k, v in source.variables.items()}
    environment = injected(source.webhook, directory, **variables) if source.webhook else variables
    if trusted:
        environment["SSL_CERT_FILE"] = trusted
    with serving(b={"k": b"x"}) as store:
        connection = connection_to(
            store, directory, source.scheme, secret_dir=None, environment=environment, in_pod=in_pod
        )
        with StoreClient(connection, policy=AT_ONCE) as client, pytest.raises(TaskError) as caught:
            client.exists("k") if read else client.head("k")
        assert not store.seen
    return caught.value


@contextmanager
def source_of(name: str, directory: Path, plan: Plan) -> Iterator[tuple[StubServer, str]]:
    """Serve a source by a plan; yield it, and the file of the certificate to be trusted."""
    if not SOURCES[name].tls:
        with serving() as server:
            server.plan = plan
            yield server, ""
        return
    file, pem = certificate(directory, LOCAL)
    (directory / "ca.pem").write_text(pem)
    with serving(file) as server:
        server.plan = plan
        yield server, str(directory / "ca.pem")


def answered(name: str, directory: Path, answer: Answer, *, in_pod: bool = True, read: bool = False) -> TaskError:
    """Return the error of a look-up with a source that gives one answer to all requests."""
    with source_of(name, directory, lambda _: answer) as (server, trusted):
        error = failed(name, directory, server.url, trusted=trusted, in_pod=in_pod, read=read)
        assert server.seen
    return error


def scheme_of_urls(name: str) -> str:
    return "https" if SOURCES[name].tls else "http"


def sts_refusal(status: int, code: str) -> Answer:
    """Return an answer of AWS' token service."""
    body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"
    return Answer(status, body.encode())


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("status", [403, 404])
def test_refusal_of_a_source_is_the_users_mistake_and_no_answer_of_the_store(
    tmp_path: Path, name: str, status: int
) -> None:
    error = answered(name, tmp_path, Answer(status, b"x"))
    assert isinstance(error, InvalidInput)
    assert error.reason == "StoreRefused"
    assert f"(HTTP {status})" in str(error)
    assert re.search("gives the identity|no usable identity was found", str(error))
    assert "s3:GetObject" not in str(error)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("status", [429, 503])
def test_source_that_fails_or_is_busy_is_unavailable(tmp_path: Path, name: str, status: int) -> None:
    error = answered(name, tmp_path, Answer(status, b"x"))
    assert isinstance(error, TryAgain)
    assert error.reason == "StoreUnavailable"
    assert f"gives the identity, {'is busy' if status == 429 else 'fails'} (HTTP {status})" in str(error)


@pytest.mark.parametrize("name", SOURCES)
def test_source_without_a_connection_is_unavailable_and_named(tmp_path: Path, name: str) -> None:
    with serving() as closed:
        port = closed.server_port
    url = f"{scheme_of_urls(name)}://127.0.0.1:{port}"
    error = failed(name, tmp_path, url)
    assert isinstance(error, TryAgain)
    assert error.reason == "StoreUnavailable"
    assert f"{url}, which gives the identity, can't be reached" in str(error)
    assert "networkPolicy.objectStores" in str(error)


@pytest.mark.parametrize("name", SOURCES)
def test_source_with_an_unknown_name_is_unavailable_and_named(tmp_path: Path, name: str) -> None:
    url = f"{scheme_of_urls(name)}://source.invalid"
    error = failed(name, tmp_path, url)
    assert isinstance(error, TryAgain)
    assert f"the name of {url}, which gives the identity, is unknown" in str(error)


@pytest.mark.parametrize("name", SOURCES)
def test_source_that_breaks_off_is_unavailable_and_named(tmp_path: Path, name: str) -> None:
    with source_of(name, tmp_path, lambda _: Answer(200, cut=0)) as (server, trusted):
        error = failed(name, tmp_path, server.url, trusted=trusted)
    assert isinstance(error, TryAgain)
    assert f"{server.url}, which gives the identity, broke off the connection" in str(error)


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "metadata of EC2"])
def test_page_in_place_of_an_identity_is_no_answer_of_the_store(tmp_path: Path, name: str) -> None:
    error = answered(name, tmp_path, Answer(200, b"<html>Log in"))
    assert isinstance(error, InvalidInput)
    assert "doesn't answer like a source of identities" in str(error)


@pytest.mark.parametrize("name", SOURCES)
def test_refusal_of_a_source_is_not_an_absent_object(tmp_path: Path, name: str) -> None:
    error = answered(name, tmp_path, Answer(404, b"x"), read=True)
    assert error.reason == "StoreRefused"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (sts_refusal(403, "AccessDenied"), "the role's trust policy: OIDC provider, namespace, and name"),
        (sts_refusal(400, "InvalidIdentityToken"), "create the cluster's OIDC provider in IAM"),
        (sts_refusal(400, "ExpiredTokenException"), "it has expired"),
        (sts_refusal(403, "RegionDisabledException"), "activate the token service"),
        (sts_refusal(400, "ValidationError"), "AWS_ROLE_ARN"),
        (Answer(404, b"<html>not found</html>"), "AWS_ROLE_ARN"),
    ],
)
def test_refusal_of_the_token_service_of_aws_names_what_to_correct(tmp_path: Path, answer: Answer, right: str) -> None:
    error = answered("token service of AWS", tmp_path, answer)
    assert isinstance(error, InvalidInput)
    assert error.reason == "StoreRefused"
    assert right in str(error)


@pytest.mark.parametrize("code", ["Throttling", "IDPCommunicationError", "RequestLimitExceeded"])
def test_passing_code_of_the_token_service_of_aws_is_unavailable(tmp_path: Path, code: str) -> None:
    assert isinstance(answered("token service of AWS", tmp_path, sts_refusal(400, code)), TryAgain)


def test_token_service_of_aws_is_that_of_the_region(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy_url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    environment = injected("AWS role", tmp_path, HTTPS_PROXY=proxy_url)
    with serving(b={"k": b"x"}) as store:
        connection = connection_to(store, tmp_path, secret_dir=None, environment=environment, region="eu-west-1")
        with StoreClient(connection, policy=AT_ONCE) as client, pytest.raises(TryAgain) as caught:
            client.head("k")
    assert "https://sts.eu-west-1.amazonaws.com, which gives the identity, can't be reached through the proxy" in str(
        caught.value
    )
    assert "name sts.eu-west-1.amazonaws.com in NO_PROXY" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "answer", "right"),
    [
        ("agent of EKS", Answer(404, b"[x]: (ResourceNotFoundException): No association"), "create an association"),
        (
            "agent of EKS",
            Answer(403, b"[x]: (AccessDeniedException): Unauthorized"),
            "sts:AssumeRole and sts:TagSession",
        ),
        ("agent of EKS", Answer(404, b"(ResourceNotFoundException)"), r"\(HTTP 404, ResourceNotFoundException\)"),
        (
            "token service of Azure",
            Answer(401, json.dumps({"error_description": "AADSTS700213: No matching federated identity"}).encode()),
            r"\(HTTP 401, AADSTS700213\); correct the identity's federated credential",
        ),
        ("metadata of Google", Answer(403), "grant it Workload Identity User"),
        ("metadata of Google", Answer(404), "no usable identity was found"),
        ("metadata of EC2", Answer(404), "no usable identity was found"),
    ],
)
def test_refusal_of_a_source_names_what_to_correct(tmp_path: Path, name: str, answer: Answer, right: str) -> None:
    assert re.search(right, str(answered(name, tmp_path, answer)))


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("metadata")])
def test_machine_whose_metadata_cannot_be_reached_has_no_identity(tmp_path: Path, name: str) -> None:
    with serving() as closed:
        url = closed.url
    error = failed(name, tmp_path, url, in_pod=False)
    assert isinstance(error, InvalidInput)
    assert "no usable identity was found" in str(error)
    assert "networkPolicy" not in str(error)


def test_untrusted_token_service_is_named(tmp_path: Path) -> None:
    file, _ = certificate(tmp_path, LOCAL)
    with serving(file) as server:
        error = failed("token service of AWS", tmp_path, server.url)
    assert isinstance(error, InvalidInput)
    assert f"{server.url}, which gives the identity, can't be trusted" in str(error)


def test_link_without_an_identity_names_its_source(tmp_path: Path) -> None:
    with serving(b={}) as store, serving() as agent:
        agent.plan = lambda _: Answer(503)
        uri = f"{agent.url}/v1/credentials"
        environment = injected("EKS Pod Identity", tmp_path, AWS_CONTAINER_CREDENTIALS_FULL_URI=uri)
        connection = connection_to(store, tmp_path, secret_dir=None, environment=environment, in_pod=True)
        with StoreClient(connection, policy=AT_ONCE) as client, pytest.raises(TryAgain, match="gives the identity"):
            client.link("k", 60)


def test_hidden_url_of_a_store_is_not_that_of_a_token_service(tmp_path: Path) -> None:
    with serving(b={}) as server, StoreClient(connection_to(server, tmp_path, "az"), policy=AT_ONCE) as client:
        server.plan = lambda _: refusal(403, "AuthorizationFailure")
        with pytest.raises(InvalidInput, match="Storage Blob Data Reader"):
            client.head("k")


def test_file_of_the_token_that_is_missing_is_a_lack_of_an_identity(tmp_path: Path) -> None:
    environment = injected("AKS", tmp_path, AZURE_FEDERATED_TOKEN_FILE=str(tmp_path / "absent"))
    with serving(b={}) as store:
        connection = connection_to(store, tmp_path, "az", secret_dir=None, environment=environment, in_pod=True)
        with StoreClient(connection, policy=AT_ONCE) as client, pytest.raises(InvalidInput, match="no usable identity"):
            client.head("k")
