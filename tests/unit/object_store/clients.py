"""Clients of the stub server, with a secret for each provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.object_store.stub_server import StubServer

from maskrcnn_trainer.object_store.client import StoreClient
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.retries import RetryPolicy

SCHEMES = ("s3", "gs", "az")
QUICK = RetryPolicy(first_wait=0.01, throttled_wait=0.01, longest_wait=0.02)
"""Back-off without waits that a test would notice."""

AT_ONCE = RetryPolicy(first_wait=0.01, limit=0.0, limit_of_new_permission=0.0)
"""Policy that gives a request up at its first failure."""

SECRETS = {
    "s3": {"AWS_ACCESS_KEY_ID": "KEYIDOFTHESECRET", "AWS_SECRET_ACCESS_KEY": "key/of+the+secret"},
    "gs": {
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(
            {
                "private_key": "private-key-of-the-secret",
                "client_email": "",
                "private_key_id": "",
                "disable_oauth": True,
            }
        )
    },
    "az": {"AZURE_STORAGE_SAS_TOKEN": "?sv=2024&sig=signature%2Fof%2Bthe%2Bsecret%3D"},
}


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


def secret_in(directory: Path, scheme: str, **keys: str) -> Path:
    """Write the files of a secret, and return their directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in (keys or SECRETS[scheme]).items():
        (directory / name).write_text(value)
    return directory


def connection_to(server: StubServer, directory: Path, scheme: str = "s3", **changes: Any) -> StoreConnection:
    """Return the connection to a bucket ``b`` of the server, with a secret in ``directory``."""
    fields: dict[str, Any] = {
        "container": "b",
        "endpoint": server.url,
        "account": "account" if scheme == "az" else None,
        "region": "us-east-1" if scheme == "s3" else None,
        "secret_dir": secret_in(directory / scheme, scheme),
        "allow_http": True,
    }
    return StoreConnection(scheme, **{**fields, **changes})


def client_of(server: StubServer, directory: Path, scheme: str = "s3", **options: Any) -> StoreClient:
    """Return a client of the bucket ``b`` of the server."""
    return StoreClient(connection_to(server, directory, scheme), **{"policy": QUICK, **options})
