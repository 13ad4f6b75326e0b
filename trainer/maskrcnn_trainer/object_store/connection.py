"""The way to one store, and the identity with which it is used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.explanations import REFUSED, Reached
from maskrcnn_trainer.object_store.providers import PROVIDERS, is_own_host
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec, line_to_add, store_for

CONNECT_SECONDS = 15
READ_SECONDS = 60
"""Time without a byte after which an answer is given up."""
PART_SECONDS = 240
"""The same for a part of an upload, of 8 MiB: its answer begins after its last byte, so four at once need 140 kB/s."""

DEFAULT_REGION = "us-east-1"
ACCOUNT_VARIABLE = "AZURE_STORAGE_ACCOUNT_NAME"
_POD_VARIABLE = "KUBERNETES_SERVICE_HOST"
"""Set by the kubelet in each container."""
_TOKEN_SERVICE_VARIABLE = "AWS_ENDPOINT_URL_STS"  # noqa: S105 - the name of a variable
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ALWAYS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of proxies and certificates, which every helper gets; those of proxies also in lowercase."""
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^/?#@\s]+)*/?")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_REGION = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True)
class StoreConnection:
    """All that is needed to reach one store; it holds no key, but the variables of an ambient identity may.

    Attributes:
        scheme: ``s3``, ``gs``, or ``az``.
        container: the bucket or container.
        endpoint: URL; None: the provider's own.
        account: of Azure.
        region: of S3; None: that of the library.
        secret_dir: directory with a file for each key; None: the ambient identity.
        ca_bundle: certificates in PEM, trusted in addition to the system's; empty: none.
        allow_http: whether ``http://`` is allowed.
        environment: variables that the helper process needs: proxies, certificates, and those of an ambient identity.
        in_pod: whether this process runs in a pod.
    """

    scheme: str
    container: str
    endpoint: str | None = None
    account: str | None = None
    region: str | None = None
    secret_dir: Path | None = None
    ca_bundle: str = ""
    allow_http: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    in_pod: bool = False

    @property
    def reached(self) -> Reached:
        """Return what messages name of it."""
        return Reached(
            self.scheme,
            self.container,
            self.endpoint,
            self.account,
            self.region,
            ambient=self.secret_dir is None,
            secret=str(self.secret_dir or ""),
            in_pod=self.in_pod,
        )

    @property
    def token_service(self) -> str:
        """Return the URL at which the library exchanges the token of a service account of AWS; empty elsewhere."""
        if self.scheme != "s3":
            return ""
        return self.environment.get(_TOKEN_SERVICE_VARIABLE) or f"https://sts.{self.region}.amazonaws.com"

    def url_of(self, key: str) -> str:
        """Return the URL of a key or prefix; that of the container for an empty one."""
        return str(ObjectUrl(self.scheme, self.container, key))

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
            "tokenService": self.token_service,
            "secretDir": None if self.secret_dir is None else str(self.secret_dir.absolute()),
            "caBundle": self.ca_bundle,
            "allowHttp": self.allow_http,
            "environment": dict(self.environment),
            "concurrency": concurrency,
            "connectSeconds": CONNECT_SECONDS,
            "readSeconds": READ_SECONDS,
            "partSeconds": PART_SECONDS,
        }


def connection_for(
    url: ObjectUrl, stores: Sequence[ObjectStoreSpec], environment: Mapping[str, str]
) -> StoreConnection:
    """Return how a URL of an object store is reached.

    An ambient identity goes only to the provider's own hosts, to the endpoint that the same environment names, and to
    one of ``--store-config`` or of the operator; not to one that only a manifest names on a user's machine.

    Args:
        url: with one of the schemes of object stores.
        stores: entries without problems; the one with the longest prefix is used.
        environment: of this process.

    Raises:
        InvalidInput: the endpoint isn't allowed, or the storage account is missing.
    """
    store = store_for(url, stores)
    secret_dir = Path(store.secret_dir) if store is not None and store.secret_dir is not None else None
    endpoint, allow_http = _endpoint(url, store, environment, ambient=secret_dir is None)
    return StoreConnection(
        scheme=url.scheme,
        container=url.container,
        endpoint=endpoint,
        account=_account(url, store, environment) if url.scheme == "az" else None,
        region=_region(store, environment, ambient=secret_dir is None) if url.scheme == "s3" else None,
        secret_dir=secret_dir,
        ca_bundle=(store.ca_bundle or "") if store is not None else "",
        allow_http=allow_http,
        environment=_environment_of_helper(url.scheme, environment, ambient=secret_dir is None),
        in_pod=is_in_pod(environment),
    )


def is_in_pod(environment: Mapping[str, str]) -> bool:
    """Return whether this process runs in a pod, by its environment."""
    return _POD_VARIABLE in environment


def _endpoint(
    url: ObjectUrl, store: ObjectStoreSpec | None, environment: Mapping[str, str], *, ambient: bool
) -> tuple[str | None, bool]:
    """Return the endpoint, None for the provider's own, and whether it may be ``http://``."""
    allow_http = store is not None and store.allow_http
    if store is not None and store.secret_ref is not None and ambient:
        raise InvalidInput(
            f"{_of(url)}: a Secret can't be read on this machine; add to --store-config, with the directory of its "
            f"keys as DIR: {line_to_add(store, directory='DIR')}",
            reason=REFUSED,
        )
    if not ambient:
        assert store is not None  # noqa: S101 - a secret is that of an entry
        return _bare(store.endpoint), allow_http
    variable, named = _named(url.scheme, environment)
    if store is not None and store.endpoint is not None:
        if store.from_manifest and not _is_trusted(url.scheme, store.endpoint, named):
            raise InvalidInput(
                f"{_of(url)}: the credentials of this machine go to no endpoint that only a manifest names; to allow "
                f"{store.endpoint}, add to --store-config: {line_to_add(store)}",
                reason=REFUSED,
            )
        return _bare(store.endpoint), allow_http
    if named is None:
        return None, allow_http
    allow_http = allow_http or environment.get(PROVIDERS[url.scheme].http_variable, "").lower() == "true"
    if not _ENDPOINT.fullmatch(named):
        raise InvalidInput(
            f"{variable}: must be https://HOST or https://HOST:PORT, without user info and query", reason=REFUSED
        )
    if named.startswith("http://") and not allow_http:
        raise InvalidInput(
            f"{variable}: begins with http://, which sends data unencrypted: use https://, or set "
            f"{PROVIDERS[url.scheme].http_variable}=true, or allowHttp: true in an entry of objectStores",
            reason=REFUSED,
        )
    return _bare(named), allow_http


def _named(scheme: str, environment: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the variable that names an endpoint and its value; None: no variable does."""
    for variable in PROVIDERS[scheme].endpoint_variables:
        if value := environment.get(variable):
            return variable, value
    return "", None


def _is_trusted(scheme: str, endpoint: str, named: str | None) -> bool:
    """Return whether an ambient identity may go to the endpoint of a manifest."""
    if named is not None and _bare(endpoint) == _bare(named):
        return True
    parts = urlsplit(endpoint)
    # another port of a provider's host would be an open door in a proxy, but never in DNS
    return parts.scheme == "https" and parts.port in (None, 443) and is_own_host(scheme, parts.hostname or "")


def _bare(endpoint: str | None) -> str | None:
    return endpoint.rstrip("/") if endpoint is not None else None


def _account(url: ObjectUrl, store: ObjectStoreSpec | None, environment: Mapping[str, str]) -> str:
    account = store.account if store is not None and store.account is not None else environment.get(ACCOUNT_VARIABLE)
    if not account:
        raise InvalidInput(
            f"{_of(url)}: the storage account isn't known; set account in an entry of objectStores, or "
            f"{ACCOUNT_VARIABLE}",
            reason=REFUSED,
        )
    if not _ACCOUNT.fullmatch(account):
        # it is a part of the host's name, so that another host could be reached by it
        raise InvalidInput(
            f"{ACCOUNT_VARIABLE}: must be a storage account: 3 to 24 lowercase letters and digits", reason=REFUSED
        )
    return account


def _region(store: ObjectStoreSpec | None, environment: Mapping[str, str], *, ambient: bool) -> str:
    if store is not None and store.region is not None:
        return store.region
    for variable in _REGION_VARIABLES if ambient else ():
        if region := environment.get(variable):
            if not _REGION.fullmatch(region):
                raise InvalidInput(f"{variable}: must be a region, such as eu-west-1", reason=REFUSED)
            return region
    return DEFAULT_REGION


def _environment_of_helper(scheme: str, environment: Mapping[str, str], *, ambient: bool) -> dict[str, str]:
    provider = PROVIDERS[scheme]
    names = {*_ALWAYS, *(name.lower() for name in _ALWAYS)}
    if ambient:
        own = {name for name in environment if name.startswith(provider.prefix)}
        # the endpoint is decided here: one of the environment would replace it
        names |= (own | set(provider.other_variables)) - set(provider.endpoint_variables)
    return {name: environment[name] for name in names if name in environment}


def _of(url: ObjectUrl) -> str:
    return str(ObjectUrl(url.scheme, url.container))
