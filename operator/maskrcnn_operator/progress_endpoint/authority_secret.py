"""Certificate authority (CA) of the report endpoint, kept in a Secret for all replicas and restarts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from maskrcnn_operator.cluster.errors import Conflict, NotFound
from maskrcnn_operator.cluster.resources import SECRETS, Resource
from maskrcnn_operator.progress_endpoint.certificates import (
    Authority,
    CertificateError,
    new_authority,
    read_authority,
    renewed,
)

SECRET_NAME = "maskrcnn-operator-report-ca"  # noqa: S105 - a name
CERTIFICATE_KEY = "ca.crt"
PRIVATE_KEY_KEY = "ca.key"
_ATTEMPTS = 5


class SecretClient(Protocol):
    """Part of :class:`maskrcnn_operator.cluster.client.Client` that is needed for the Secret."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        """Return an object."""

    async def create(self, resource: Resource, namespace: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object and return it."""

    async def replace(self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object and return it."""


async def obtain_authority(client: SecretClient, namespace: str, name: str, now: datetime) -> Authority:
    """Return the CA in the Secret, after creating or renewing it if needed; if several replicas do so, one wins.

    Raises:
        CertificateError: the content of the Secret is invalid; it is never overwritten.
        ApiError: a call failed.
    """
    for _ in range(_ATTEMPTS):
        try:
            secret = await client.get(SECRETS, namespace, name)
        except NotFound:
            authority = new_authority(now)
            try:
                await client.create(SECRETS, namespace, _secret(namespace, name, authority))
            except Conflict:
                continue
            return authority
        found = _read(secret, f"Secret {namespace}/{name}")
        authority = renewed(found, now)
        if authority is found:
            return found
        body = {**secret, "data": {**(secret.get("data") or {}), **_data(authority)}}
        try:
            await client.replace(SECRETS, namespace, name, body)
        except (Conflict, NotFound):
            continue
        return authority
    raise CertificateError(
        f"Secret {namespace}/{name}: {_ATTEMPTS} writes failed because another controller or user kept changing it"
    )


def _read(secret: Mapping[str, Any], where: str) -> Authority:
    data = secret.get("data") or {}
    try:
        certificate, key = (base64.b64decode(data[name], validate=True) for name in (CERTIFICATE_KEY, PRIVATE_KEY_KEY))
        return read_authority(certificate, key)
    except (KeyError, TypeError, binascii.Error, CertificateError) as error:
        raise CertificateError(
            f"{where}: {CERTIFICATE_KEY} and {PRIVATE_KEY_KEY} aren't a valid certificate authority ({error}); "
            "delete the Secret to have a new one created"
        ) from error


def _data(authority: Authority) -> dict[str, str]:
    return {
        CERTIFICATE_KEY: base64.b64encode(authority.certificate_pem.encode()).decode(),
        PRIVATE_KEY_KEY: base64.b64encode(authority.key_pem.encode()).decode(),
    }


def _secret(namespace: str, name: str, authority: Authority) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "maskrcnn-operator"},
        },
        "type": "Opaque",
        "data": _data(authority),
    }
