"""The way to one store, and the identity with which it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn_trainer.object_store.explanations import Reached

CONNECT_SECONDS = 15
READ_SECONDS = 60
"""Time without a byte after which an answer is given up."""


@dataclass(frozen=True)
class Connection:
    """All that is needed to reach one store; it holds no key, but the variables of an ambient identity may.

    Attributes:
        scheme: ``s3``, ``gs``, or ``az``.
        container: the bucket or container.
        endpoint: URL; None: the provider's own.
        account: of Azure.
        region: of S3; None: the environment's or the library's default.
        secret_dir: directory with a file for each key; None: the ambient identity.
        ca_bundle: certificates in PEM, trusted in addition to the system's; empty: none.
        allow_http: whether ``http://`` is allowed.
        environment: variables that the helper process needs: proxies, certificates, and those of an ambient identity.
    """

    scheme: str
    container: str
    endpoint: str | None = None
    account: str | None = None
    region: str | None = None
    secret_dir: Path | None = None
    ca_bundle: str = ""
    allow_http: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def reached(self) -> Reached:
        """Return what messages name of it."""
        return Reached(
            self.scheme, self.container, self.endpoint, self.account, self.region, ambient=self.secret_dir is None
        )

    def url_of(self, key: str) -> str:
        """Return the URL of a key or prefix; that of the container for an empty one."""
        return f"{self.scheme}://{self.container}/{key}" if key else f"{self.scheme}://{self.container}"

    def settings(self, concurrency: int) -> dict[str, Any]:
        """Return the first message to the helper process.

        Args:
            concurrency: number of requests that the helper carries out at once.
        """
        return {
            "scheme": self.scheme,
            "container": self.container,
            "endpoint": self.endpoint,
            "account": self.account,
            "region": self.region,
            "secretDir": None if self.secret_dir is None else str(self.secret_dir.absolute()),
            "caBundle": self.ca_bundle,
            "allowHttp": self.allow_http,
            "environment": dict(self.environment),
            "concurrency": concurrency,
            "connectSeconds": CONNECT_SECONDS,
            "readSeconds": READ_SECONDS,
        }
