"""The authority in a Secret of the operator's namespace, the same for all replicas and after every restart."""

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
    """The calls that are needed of :class:`maskrcnn_operator.cluster.client.Client`."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]: ...

    async def create(self, resource: Resource, namespace: str | None, body: Mapping[str, Any]) -> dict[str, Any]: ...

    async def replace(
        self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]
    ) -> dict[str, Any]: ...


async def obtain_authority(client: SecretClient, namespace: str, name: str, now: datetime) -> Authority:
    """The authority of the Secret, made or renewed where that is needed. Of several replicas that do so one wins.

    Raises:
        CertificateError: what the Secret holds cannot be used; it is never overwritten.
        ApiError: the API server cannot be reached or refuses.
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
    raise CertificateError(f"Secret {namespace}/{name}: another controller or user keeps making and removing it")


def _read(secret: Mapping[str, Any], where: str) -> Authority:
    data = secret.get("data") or {}
    try:
        certificate, key = (base64.b64decode(data[name], validate=True) for name in (CERTIFICATE_KEY, PRIVATE_KEY_KEY))
        return read_authority(certificate, key)
    except (KeyError, TypeError, binascii.Error, CertificateError) as error:
        raise CertificateError(
            f"{where}: {CERTIFICATE_KEY} and {PRIVATE_KEY_KEY} hold no certificate authority ({error}); "
            "delete the Secret and a new one is made"
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
