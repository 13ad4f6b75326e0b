"""The way to a store, and where an ambient identity may go."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.connection import StoreConnection, connection_for
from maskrcnn_trainer.shared.object_url import parse_url
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec

AMBIENT = {"AWS_ACCESS_KEY_ID": "ambient-id", "AWS_SECRET_ACCESS_KEY": "ambient-secret", "AWS_SESSION_TOKEN": "token"}


def connection(url: str, *stores: dict[str, Any], **environment: str) -> StoreConnection:
    return connection_for(parse_url(url, "url"), [ObjectStoreSpec(**store) for store in stores], environment)


def test_url_without_a_store_has_the_ambient_identity() -> None:
    found = connection("s3://b/k", **AMBIENT, AWS_REGION="eu-west-1", AZURE_CLIENT_ID="x", OTHER="y")
    assert (found.secret_dir, found.endpoint, found.region) == (None, None, "eu-west-1")
    assert found.environment == {**AMBIENT, "AWS_REGION": "eu-west-1"}


def test_store_with_a_secret_gets_no_variable_of_the_ambient_identity() -> None:
    found = connection(
        "s3://b/k",
        {"prefix": "s3://b", "secret_dir": "/keys"},
        **AMBIENT,
        AWS_ENDPOINT_URL="https://other.test",
        AWS_REGION="eu-west-1",
        HTTPS_PROXY="http://user:pw@proxy.test",
        no_proxy="localhost",
        SSL_CERT_FILE="/ca.pem",
    )
    assert found.environment == {
        "HTTPS_PROXY": "http://user:pw@proxy.test",
        "no_proxy": "localhost",
        "SSL_CERT_FILE": "/ca.pem",
    }
    assert (str(found.secret_dir), found.endpoint, found.region) == ("/keys", None, "us-east-1")


def test_process_of_a_pod_is_known_by_the_variable_of_the_kubelet() -> None:
    assert connection("s3://b/k", KUBERNETES_SERVICE_HOST="10.0.0.1").in_pod
    assert not connection("s3://b/k").in_pod


def test_store_with_the_longest_prefix_is_used() -> None:
    stores = [{"prefix": "s3://b", "region": "eu-west-1"}, {"prefix": "s3://b/deep", "region": "eu-west-2"}]
    assert connection("s3://b/deep/k", *stores).region == "eu-west-2"
    assert connection("s3://b/deeper/k", *stores).region == "eu-west-1"


def test_endpoint_of_the_environment_is_used_and_not_passed_on_twice() -> None:
    found = connection("s3://b/k", **AMBIENT, AWS_ENDPOINT_URL="https://a.test/", AWS_ENDPOINT_URL_S3="https://b.test/")
    assert found.endpoint == "https://b.test"
    assert not [name for name in found.environment if "ENDPOINT" in name]


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://b/k", "https://s3.eu-west-1.amazonaws.com"),
        ("gs://b/k", "https://storage.googleapis.com"),
        ("az://b/k", "https://acc.blob.core.windows.net"),
    ],
)
def test_ambient_identity_goes_to_an_own_host_that_a_manifest_names(url: str, endpoint: str) -> None:
    store = {"prefix": url.removesuffix("/k"), "endpoint": endpoint, "from_manifest": True}
    assert connection(url, store, AZURE_STORAGE_ACCOUNT_NAME="acc").endpoint == endpoint


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://b/k", "https://evil.test"),
        ("s3://b/k", "https://s3.amazonaws.com:8443"),
        ("s3://b/k", "http://s3.amazonaws.com"),
        ("s3://b/k", "https://ec2-192-0-2-1.compute-1.amazonaws.com"),
        ("gs://b/k", "https://evil.test"),
        ("az://b/k", "https://evil.test"),
    ],
)
def test_ambient_identity_does_not_go_to_another_host_that_only_a_manifest_names(url: str, endpoint: str) -> None:
    store = {"prefix": url.removesuffix("/k"), "endpoint": endpoint, "allow_http": True, "from_manifest": True}
    with pytest.raises(InvalidInput, match="add to --store-config: - ") as caught:
        connection(url, store, **AMBIENT, AZURE_STORAGE_ACCOUNT_NAME="acc")
    assert f'endpoint: "{endpoint}"' in str(caught.value)
    assert "ambient-secret" not in str(caught.value)


def test_ambient_identity_goes_to_an_endpoint_that_the_environment_names_too() -> None:
    store = {"prefix": "s3://b", "endpoint": "https://mine.test/", "from_manifest": True}
    found = connection("s3://b/k", store, **AMBIENT, AWS_ENDPOINT_URL="https://mine.test")
    assert found.endpoint == "https://mine.test"


def test_ambient_identity_goes_to_an_endpoint_of_the_users_file_or_the_operator() -> None:
    assert connection("s3://b/k", {"prefix": "s3://b", "endpoint": "https://mine.test"}).endpoint == "https://mine.test"


def test_secret_goes_to_any_endpoint() -> None:
    store = {"prefix": "s3://b", "endpoint": "https://mine.test", "secret_dir": "/keys"}
    assert connection("s3://b/k", store).endpoint == "https://mine.test"


def test_http_endpoint_of_the_environment_must_be_allowed() -> None:
    with pytest.raises(InvalidInput, match="AWS_ENDPOINT_URL: begins with http://"):
        connection("s3://b/k", AWS_ENDPOINT_URL="http://mine.test")
    assert connection("s3://b/k", AWS_ENDPOINT_URL="http://mine.test", AWS_ALLOW_HTTP="true").allow_http
    allowed = connection("s3://b/k", {"prefix": "s3://b", "allow_http": True}, AWS_ENDPOINT_URL="http://mine.test")
    assert (allowed.endpoint, allowed.allow_http) == ("http://mine.test", True)


def test_endpoint_of_the_environment_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidInput, match="^AWS_ENDPOINT_URL: must be") as caught:
        connection("s3://b/k", AWS_ENDPOINT_URL="https://user:pw@mine.test")
    assert "pw" not in str(caught.value)


def test_secret_that_this_machine_cannot_read_is_refused_with_the_line_to_add() -> None:
    store = {"prefix": "s3://b", "secret_ref": {"name": "keys"}, "from_manifest": True}
    with pytest.raises(InvalidInput, match='secretDir: "DIR"'):
        connection("s3://b/k", store, **AMBIENT)


def test_account_is_needed_for_azure() -> None:
    with pytest.raises(InvalidInput, match="az://c: .*AZURE_STORAGE_ACCOUNT_NAME"):
        connection("az://c/k")
    assert connection("az://c/k", AZURE_STORAGE_ACCOUNT_NAME="fromenv").account == "fromenv"
    store = {"prefix": "az://c", "account": "given"}
    assert connection("az://c/k", store, AZURE_STORAGE_ACCOUNT_NAME="fromenv").account == "given"


@pytest.mark.parametrize("account", ["evil.test/", "UPPER", "a", "x@y"])
def test_account_that_could_be_another_host_is_refused(account: str) -> None:
    with pytest.raises(InvalidInput, match="AZURE_STORAGE_ACCOUNT_NAME"):
        connection("az://c/k", AZURE_STORAGE_ACCOUNT_NAME=account)


def test_region_that_could_be_another_host_is_refused() -> None:
    with pytest.raises(InvalidInput, match="AWS_REGION"):
        connection("s3://b/k", AWS_REGION="evil.test/#")


def test_keys_of_the_environment_are_not_in_the_text_of_a_connection() -> None:
    assert "ambient-secret" not in repr(connection("s3://b/k", **AMBIENT))


@pytest.mark.parametrize(
    ("url", "stores", "environment"),
    [
        ("s3://b/k", [{"prefix": "s3://b", "secret_ref": {"name": "keys"}}], {}),
        ("s3://b/k", [{"prefix": "s3://b", "endpoint": "https://evil.test", "from_manifest": True}], {}),
        ("s3://b/k", [], {"AWS_ENDPOINT_URL": "ftp://a.test"}),
        ("s3://b/k", [], {"AWS_ENDPOINT_URL": "http://a.test"}),
        ("s3://b/k", [], {"AWS_REGION": "../x"}),
        ("az://b/k", [], {}),
        ("az://b/k", [], {"AZURE_STORAGE_ACCOUNT_NAME": "evil.test/"}),
    ],
)
def test_store_that_cannot_be_used_is_refused_with_a_reason(
    url: str, stores: list[dict[str, Any]], environment: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        connection(url, *stores, **environment)
    assert caught.value.reason == "StoreRefused"


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("s3://b", {"AWS_REGION": "eu-west-1"}, "https://sts.eu-west-1.amazonaws.com"),
        ("s3://b", {"AWS_ENDPOINT_URL_STS": "https://sts.test"}, "https://sts.test"),
        ("gs://b", {}, ""),
    ],
)
def test_token_service_is_that_of_the_environment_or_of_the_region(
    url: str, environment: dict[str, str], expected: str
) -> None:
    assert connection(url, **environment).token_service == expected
