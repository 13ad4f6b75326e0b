"""Stores as a user gives them: a file of --store-config with directories of secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.object_storage.proxy import FaultProxy
from tests.object_storage.servers import REGION, ObjectServer
from tests.unit.object_store.clients import QUICK, secret_in

from maskrcnn_trainer.object_store.client import ObjectInfo, StoreClient
from maskrcnn_trainer.object_store.connection import connection_for
from maskrcnn_trainer.shared.object_url import parse_url
from maskrcnn_trainer.spec.object_stores import local_stores
from maskrcnn_trainer.spec.store_config import read_store_config


def md5(content: bytes) -> str:
    """Return the etag that most stores give to an object that was written in one request."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class UserStore:
    """A container and a user's entry for it.

    Attributes:
        server: that holds the container.
        container: its name.
        directory: of the configuration and the secret.
    """

    server: ObjectServer
    container: str
    directory: Path

    @property
    def url(self) -> str:
        """Return the URL of the container."""
        return f"{self.server.scheme}://{self.container}"

    @property
    def secret_dir(self) -> Path:
        """Return the directory of the secret."""
        return self.directory / f"secret-{self.container}"

    def entry(self, address: str | None = None, **changes: Any) -> dict[str, Any]:
        """Return the entry, and write its secret.

        Args:
            address: of a proxy in front of the server.
            changes: further fields; ``secret`` replaces the files of the secret.
        """
        secret = changes.pop("secret", self.server.secret)
        secret_in(self.secret_dir, self.server.scheme, **secret)
        fields: dict[str, Any] = {
            "prefix": self.url,
            "endpoint": self.server.endpoint(address),
            "secretDir": self.secret_dir.name,
            "allowHttp": True,
        }
        if self.server.scheme == "az":
            fields["account"] = "lab"
        if self.server.scheme == "s3":
            fields["region"] = REGION
        return {name: value for name, value in {**fields, **changes}.items() if value is not None}

    def config(self, address: str | None = None, **changes: Any) -> Path:
        """Write a file with this entry alone, and return it."""
        return write_config(self.directory / f"{self.container}.yaml", self.entry(address, **changes))

    def client(
        self, proxy: FaultProxy | None = None, *, options: Mapping[str, Any] | None = None, **changes: Any
    ) -> StoreClient:
        """Return a client of the container, by way of a proxy if one is given."""
        config = self.config(proxy.url if proxy else None, **changes)
        return client_for(self.url, config, **(options or {}))


def write_config(path: Path, *entries: Mapping[str, Any]) -> Path:
    """Write a file of --store-config, and return it."""
    path.write_text(yaml.safe_dump(list(entries)))
    return path


def client_for(url: str, config: Path, environment: Mapping[str, str] | None = None, **options: Any) -> StoreClient:
    """Return a client for a URL, with the stores of a file of --store-config and an environment."""
    stores = local_stores((), read_store_config(config))
    return StoreClient(connection_for(parse_url(url, "url"), stores, environment or {}), **{"policy": QUICK, **options})


def listed(client: StoreClient, prefix: str = "") -> dict[str, ObjectInfo]:
    """Return the objects of a listing by key."""
    found = list(client.list(prefix))
    assert len({info.key for info in found}) == len(found)
    return {info.key: info for info in found}


def content_of(client: StoreClient, info: ObjectInfo, directory: Path) -> bytes:
    """Return the content of an object, read to a file of a directory."""
    file = directory / "read"
    file.unlink(missing_ok=True)
    client.get_to_file(info, file)
    return file.read_bytes()
