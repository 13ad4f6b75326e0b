"""Identities that a provider's webhook gives to a pod: the helper finds them by the variables alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from tests.unit.object_store.stub_server import Answer, Seen, StubServer, serving
from tests.unit.object_store.test_helper_main import LOCAL, certificate
from tests.unit.object_store.web_identities import WEB_IDENTITIES

from maskrcnn_trainer.object_store.client import StoreClient
from maskrcnn_trainer.object_store.connection import connection_for
from maskrcnn_trainer.shared.object_url import parse_url
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec

TOKEN = "token-of-the-service-account"  # noqa: S105 - made up
KEY = "KEYOFTHEWEBIDENTITY"


def expiry() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def agent_of_eks(seen: Seen) -> Answer | None:
    """Answer as the agent of EKS Pod Identity at 169.254.170.23."""
    if seen.path != "/v1/credentials":
        return None
    found = {"AccessKeyId": KEY, "SecretAccessKey": "secret", "Token": "session", "Expiration": expiry()}
    return Answer(200, json.dumps(found).encode())


def sts(seen: Seen) -> Answer | None:
    """Answer as AWS' token service."""
    action = seen.query.get("Action")
    if action != "AssumeRoleWithWebIdentity":
        return None
    content = (
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
        f"<AccessKeyId>{KEY}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
        f"<SessionToken>session</SessionToken><Expiration>{expiry()}</Expiration>"
        "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )
    return Answer(200, content.encode())


def login_of_azure(seen: Seen) -> Answer | None:
    """Answer as the identity platform of Azure."""
    if not seen.path.endswith("/oauth2/v2.0/token"):
        return None
    return Answer(200, json.dumps({"access_token": KEY, "expires_in": 3600, "token_type": "Bearer"}).encode())


def injected(name: str, directory: Path, **changes: str) -> dict[str, str]:
    """Return the variables of a webhook with a token in a directory of the test, and those of a test's own server."""
    identity = WEB_IDENTITIES[name]
    found = dict(identity.variables)
    for variable, value in identity.variables.items():
        if variable.endswith("_TOKEN_FILE"):
            (directory / "token").write_text(TOKEN)
            assert value.startswith(identity.directory)
            found[variable] = str(directory / "token")
    return {**found, **changes}


def read_with(server: StubServer, scheme: str, environment: dict[str, str]) -> None:
    """Read an object of the server with the identity of an environment."""
    store = ObjectStoreSpec(prefix=f"{scheme}://b", endpoint=server.url, allow_http=True)
    connection = connection_for(parse_url(f"{scheme}://b", "url"), [store], environment)
    with StoreClient(connection) as client:
        assert client.head("k") is not None


def test_agent_of_eks_gives_the_keys(tmp_path: Path) -> None:
    with serving(b={"k": b"x"}) as server:
        server.plan = agent_of_eks
        uri = f"{server.url}/v1/credentials"
        read_with(server, "s3", injected("EKS Pod Identity", tmp_path, AWS_CONTAINER_CREDENTIALS_FULL_URI=uri))
    assert server.seen[0].headers["authorization"] == TOKEN
    assert KEY in server.seen[-1].headers["authorization"]
    assert server.seen[-1].headers["x-amz-security-token"] == "session"


def test_role_of_a_service_account_is_assumed(tmp_path: Path) -> None:
    file, pem = certificate(tmp_path, LOCAL)
    (tmp_path / "ca.pem").write_text(pem)
    with serving(file, b={"k": b"x"}) as server:
        server.plan = sts
        # the library reaches the token service by https only
        trusted = {"AWS_ENDPOINT_URL_STS": server.url, "SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        environment = injected("AWS role", tmp_path, **trusted)
        read_with(server, "s3", environment)
    assert server.seen[0].query["RoleArn"] == environment["AWS_ROLE_ARN"]
    assert server.seen[0].query["WebIdentityToken"] == TOKEN
    assert KEY in server.seen[-1].headers["authorization"]


@pytest.mark.parametrize("name", ["AKS", "AKS, reserved volume"])
def test_token_of_a_service_account_is_exchanged_at_azure(tmp_path: Path, name: str) -> None:
    with serving(b={"k": b"x"}) as server:
        server.plan = login_of_azure
        environment = injected(name, tmp_path, AZURE_AUTHORITY_HOST=server.url, AZURE_STORAGE_ACCOUNT_NAME="account")
        read_with(server, "az", environment)
    sent = parse_qs(server.seen[0].body.decode())
    assert sent["client_assertion"] == [TOKEN]
    assert sent["client_id"] == [environment["AZURE_CLIENT_ID"]]
    assert server.seen[0].path == f"/{environment['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    assert server.seen[-1].headers["authorization"] == f"Bearer {KEY}"
