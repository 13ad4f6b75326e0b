"""Identities of each kind, and the search for their values in whatever leaves a process."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.unit.object_store.stub_server import Seen

PROXY_PASSWORD = "password+of/the=proxy"  # noqa: S105 - made up
_SHORTEST = 8
"""Characters of the shortest text that is searched for: shorter ones are found in any text."""


@dataclass(frozen=True)
class Identity:
    """Identity with which a store is used.

    Attributes:
        scheme: of the store.
        files: of the store's secret; empty: the identity of the environment.
        environment: variables of an ambient identity.
        secrets: values that must stay where they are.
    """

    scheme: str
    secrets: Sequence[str]
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def of_files(scheme: str, **files: str) -> Identity:
    return Identity(scheme, tuple(files.values()), files)


@functools.cache
def service_account() -> Identity:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = key.decode()
    fields = {"private_key": pem, "private_key_id": "id-of-the-private-key", "client_email": "robot@project.test"}
    return Identity(
        "gs", (pem, "id-of-the-private-key"), {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps({"type": "x", **fields})}
    )


def identities() -> dict[str, Identity]:
    """Return an identity of each kind by its name."""
    keys = {
        "AWS_ACCESS_KEY_ID": "AKIDOFTHEIDENTITY",
        "AWS_SECRET_ACCESS_KEY": "secret/key+of/the+identity",
        "AWS_SESSION_TOKEN": "token+of/the//session==",
    }
    return {
        "static keys": of_files("s3", **keys),
        "keys of the environment": Identity("s3", tuple(keys.values()), environment=keys),
        "service account": service_account(),
        "account key": of_files(
            "az", AZURE_STORAGE_ACCOUNT_KEY=base64.b64encode(b"\xfb\xff key of the storage account").decode()
        ),
        "SAS token": of_files(
            "az",
            AZURE_STORAGE_SAS_TOKEN="?sv=2024-01-01&sp=rl&sig=signature%2Fof%2Bthe%2BSAS%3D",  # noqa: S106
        ),
    }


def forms_of(secret: str) -> Iterator[str]:
    """Yield the texts by which a value is recognized: as it is, quoted, decoded, in base64, and its lines and parts."""
    parts = [secret, *secret.splitlines(), *(part for word in secret.split("&") for part in word.split("="))]
    for part in parts:
        text = part.strip("?=")
        if len(text) >= _SHORTEST and not text.startswith("-----"):
            yield from {text, quote(text), quote(text, safe=""), unquote(text), json.dumps(text)[1:-1]}
            yield base64.b64encode(text.encode()).decode().rstrip("=")


def sent_secrets(seen: Iterable[Seen]) -> Iterator[str]:
    """Yield the signatures and tokens of requests, which are as good as keys while they are valid."""
    for request in seen:
        for name in ("authorization", "proxy-authorization", "x-amz-security-token"):
            if value := request.headers.get(name):
                yield value
                yield value.rpartition("Signature=")[2].rpartition(" ")[2]
        if signature := request.query.get("sig"):
            yield signature


def found_in(content: str, secrets: Iterable[str]) -> list[str]:
    """Return the forms of secrets that a text has."""
    return sorted({form for secret in secrets for form in forms_of(secret) if form in content})


def files_of(directory: Path) -> str:
    """Return the names and the bytes of all files below a directory, each byte as a character."""
    paths = sorted(directory.rglob("*"))
    content = [path.read_bytes().decode("latin-1") for path in paths if path.is_file()]
    return "\n".join([*map(str, paths), *content])


def visible_of(pid: int) -> str:
    """Return what other processes of the user can read of a process: its command line and its first environment."""
    return "\n".join(Path(f"/proc/{pid}/{name}").read_bytes().decode("latin-1") for name in ("cmdline", "environ"))
