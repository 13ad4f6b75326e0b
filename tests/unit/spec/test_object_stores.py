"""Object stores of a manifest and of a user's machine: which one serves a URL, and what is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import parse_url
from maskrcnn_trainer.spec.object_stores import (
    LocalStore,
    ObjectStore,
    ObjectStoreSpec,
    line_to_add,
    local_stores,
    store_for,
    store_problems,
    stores_from_json,
    stores_to_json,
)
from maskrcnn_trainer.spec.store_config import parse_store_config

SECRET = "s3cr3t"  # noqa: S105 - stands for a password
KEYS = "/keys"
BUNDLE = (
    f"# of the lab\n-----BEGIN CERTIFICATE-----\n{base64.b64encode(b'a' * 60).decode()}\n-----END CERTIFICATE-----\n"
)


def store(**fields: Any) -> ObjectStore:
    return ObjectStore.model_validate({"prefix": "s3://data", **fields})


def problems(*stores: ObjectStore) -> list[str]:
    return [str(problem) for problem in store_problems(stores)]


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("s3://data/a", "s3://data"),
        ("s3://data", "s3://data"),
        ("s3://data/train/a", "s3://data/train"),
        ("s3://data/train", "s3://data/train"),
        ("s3://data/training/a", "s3://data"),
        ("s3://data2/a", None),
        ("gs://data/a", None),
        ("az://data/a", "az://data"),
    ],
)
def test_longest_prefix_of_whole_segments_serves_a_url(url: str, prefix: str | None) -> None:
    stores = [store(prefix=each) for each in ("s3://data", "s3://data/train", "az://data", "s3://data/train/a/b")]
    found = store_for(parse_url(url, ""), stores)
    assert (found and found.prefix) == prefix


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prefix": "s3://data/a/b", "region": "eu-west-1", "secretRef": {"name": "data"}},
        {"prefix": "az://data", "account": "devstoreaccount1"},
        {"endpoint": "https://s3.example.com:9000/path"},
        {"endpoint": "https://[::1]:9000"},
        {"endpoint": "http://localhost:9000", "allowHttp": True},
        {"caBundle": BUNDLE + BUNDLE},
    ],
)
def test_valid_store_has_no_problems(fields: dict[str, Any]) -> None:
    assert problems(store(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prefix": f"s3://{SECRET}@data"}, "[0].prefix: user info"),
        ({"prefix": f"s3://data?{SECRET}"}, "[0].prefix: a URL with a ?"),
        ({"prefix": "s3://data/"}, "[0].prefix: an empty, '.', or '..' segment"),
        ({"prefix": "data"}, "[0].prefix: a URL must be s3://BUCKET/KEY"),
        ({"prefix": "file:///data"}, "[0].prefix: must begin with s3://, gs://, az://: a file has no store"),
        ({"endpoint": f"https://user:{SECRET}@host"}, "[0].endpoint: must be https://HOST"),
        ({"endpoint": f"https://host/?{SECRET}"}, "[0].endpoint: must be https://HOST"),
        ({"endpoint": "s3.example.com"}, "[0].endpoint: must be https://HOST"),
        ({"endpoint": "https://host/a\n"}, "[0].endpoint: must be https://HOST"),
        ({"endpoint": "http://host"}, "[0].endpoint: begins with http://, which sends data unencrypted"),
        ({"account": "abc"}, "[0].account: leave it out: only a prefix of az:// has an account"),
        ({"prefix": "az://data", "account": "A-b"}, "[0].account: must be the name of a storage account"),
        ({"prefix": "gs://data", "region": "eu"}, "[0].region: leave it out: only a prefix of s3:// has a region"),
        ({"region": "eu west"}, "[0].region: must be the name of a region"),
        ({"caBundle": "/etc/ssl/ca.pem"}, "[0].caBundle: must be PEM text"),
        ({"caBundle": BUNDLE.replace("CERTIFICATE", "PUBLIC KEY")}, "[0].caBundle: must be PEM text"),
        ({"caBundle": BUNDLE.replace("YWFh", "YW=h", 1)}, "[0].caBundle: certificate 1 isn't valid PEM"),
        (
            {"caBundle": f"{BUNDLE}-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"},
            "[0].caBundle: has a private key",
        ),
    ],
)
def test_problem_of_a_store_names_the_field_without_secrets(fields: dict[str, Any], message: str) -> None:
    (found,) = problems(store(**fields))
    assert found.startswith(message)
    assert SECRET not in found


def test_two_stores_with_one_prefix_are_refused() -> None:
    assert problems(store(), store(prefix="gs://a"), store()) == [
        "[2].prefix: is the prefix of [0], too; remove one of both"
    ]


def test_manifest_has_no_directory_and_a_file_no_secret() -> None:
    with pytest.raises(ValidationError):
        store(secretDir="/keys")
    with pytest.raises(ValidationError):
        LocalStore.model_validate({"prefix": "s3://data", "secretRef": {"name": "data"}})


def test_entry_of_this_machine_replaces_that_of_the_manifest_as_a_whole() -> None:
    given = [store(secretRef={"name": "data"}, endpoint="https://elsewhere.example.com", region="eu")]
    own = [LocalStore(prefix="s3://data", secret_dir=KEYS)]
    assert local_stores(given, own) == (ObjectStoreSpec(prefix="s3://data", secret_dir=KEYS),)


def test_entries_of_both_are_used_and_those_of_the_manifest_are_marked() -> None:
    given = [store(prefix="s3://other", endpoint="https://elsewhere.example.com")]
    assert local_stores(given, [LocalStore(prefix="s3://data")]) == (
        ObjectStoreSpec(prefix="s3://data"),
        ObjectStoreSpec(prefix="s3://other", endpoint="https://elsewhere.example.com", from_manifest=True),
    )


def test_secret_of_a_manifest_needs_an_entry_of_this_machine() -> None:
    given = [
        store(prefix="gs://a"),
        store(secretRef={"name": "data"}, endpoint="http://host:9000", allowHttp=True, caBundle=BUNDLE),
    ]
    with pytest.raises(InvalidInput) as refused:
        local_stores(given, [LocalStore(prefix="s3://data/train", secret_dir=KEYS)])
    assert refused.value.exit_code == 64
    message, line = str(refused.value).split("\n")
    assert message.startswith("spec.objectStores[1].secretRef: a Secret can't be read on this machine; add")
    assert "--store-config" in message
    assert yaml.safe_load(line) == [
        {
            "prefix": "s3://data",
            "endpoint": "http://host:9000",
            "allowHttp": True,
            "caBundle": "PEM",
            "secretDir": "DIR",
        }
    ]


def test_line_to_add_has_no_directory_for_the_ambient_identity() -> None:
    line = line_to_add(store(endpoint="https://host"))
    assert line == '- {prefix: "s3://data", endpoint: "https://host"}'


def test_stores_survive_the_way_to_a_task() -> None:
    stores = (
        ObjectStoreSpec(prefix="s3://data", endpoint="https://store:9000", secret_dir=KEYS),
        ObjectStoreSpec(prefix="az://models", account="lab", from_manifest=True),
    )
    assert stores_from_json(stores_to_json(stores)) == stores


@pytest.mark.parametrize("text", ["", "{}x", "{}", "[1]", '[{"prefix": "s3://a?sig=SECRET"}]', '[{"prefix": 3}]'])
def test_invalid_stores_of_the_variable_are_refused_without_their_text(text: str) -> None:
    with pytest.raises(InvalidInput, match="MASKRCNN_OBJECT_STORES") as refusal:
        stores_from_json(text)
    assert "SECRET" not in str(refusal.value)


def test_line_to_add_is_accepted_in_the_file() -> None:
    store = ObjectStoreSpec(prefix="s3://b", endpoint="https://store.example.com", from_manifest=True)
    (read,) = parse_store_config(line_to_add(store))
    assert (read.prefix, read.endpoint) == ("s3://b", "https://store.example.com")
