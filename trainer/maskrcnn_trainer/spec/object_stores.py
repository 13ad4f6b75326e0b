"""Object stores: how URLs that begin with a prefix are reached.

``spec.objectStores`` of a manifest and the file of ``--store-config`` are lists of them. The manifest names a Secret
(``secretRef``), the file a directory with one file for each key of the Secret (``secretDir``).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import Field

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import STORE_SCHEMES, ObjectUrl, parse_url, url_problem
from maskrcnn_trainer.shared.resource import OBJECT_NAME_PATTERN
from maskrcnn_trainer.shared.variables import OBJECT_STORES_VARIABLE
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.errors import Problem, dotted

MOST_STORES = 32

_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^/?#@\s]+)*/?")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_REGION = re.compile(r"[a-z0-9-]+")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


class SecretReference(SpecModel):
    """Secret in the experiment's namespace."""

    name: Annotated[str, Field(pattern=OBJECT_NAME_PATTERN, min_length=1, max_length=253)] = Field(
        description="Name of the Secret."
    )


class StoreFields(SpecModel):
    """Fields that a manifest and the file of ``--store-config`` have in common."""

    prefix: str = Field(
        max_length=2048,
        description="URLs that this entry is for: those that begin with it, by whole segments, such as s3://BUCKET or "
        "s3://BUCKET/PATH. The entry with the longest prefix is used; a URL without one is reached with the ambient "
        "identity.",
    )
    endpoint: str | None = Field(
        default=None,
        max_length=2048,
        description="Address of the store, such as https://HOST:PORT; that of the provider when absent.",
    )
    account: str | None = Field(
        default=None,
        max_length=24,
        description="Storage account, for az:// only; required there unless AZURE_STORAGE_ACCOUNT_NAME is set.",
    )
    region: str | None = Field(
        default=None, max_length=64, description="Region of the bucket, for s3:// only, such as eu-west-1."
    )
    ca_bundle: str | None = Field(
        default=None,
        max_length=65536,
        description="Certificates of the authorities that sign the store's certificate, as PEM text; those of the "
        "system when absent.",
    )
    allow_http: bool = Field(default=False, description="Whether the endpoint may begin with http://.")


class ObjectStore(StoreFields):
    """Way to reach the URLs that begin with a prefix."""

    secret_ref: SecretReference | None = Field(
        default=None,
        description="Secret with the keys of the store, mounted read-only; the ambient identity is used when absent.",
    )


class LocalStore(StoreFields):
    """Entry of the file of ``--store-config``."""

    secret_dir: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Directory with one file for each key of the Secret; the ambient identity is used when absent.",
    )


class ObjectStoreSpec(StoreFields):
    """Store as a task uses it.

    At most one of ``secret_ref`` and ``secret_dir`` is given. ``from_manifest`` is true on a machine of a user for an
    entry that no file of ``--store-config`` has: its endpoint must not get credentials of the machine.
    """

    secret_ref: SecretReference | None = None
    secret_dir: str | None = None
    from_manifest: bool = False


_Store = TypeVar("_Store", bound=StoreFields)


def store_for(url: ObjectUrl, stores: Sequence[_Store]) -> _Store | None:
    """Return the entry with the longest prefix of whole segments of a URL; None if there is none.

    Args:
        url: URL of an object.
        stores: entries without problems (:func:`store_problems`).
    """
    found = [store for store in stores if url.is_below(parse_url(store.prefix, "prefix"))]
    return max(found, key=lambda store: len(store.prefix), default=None)


def store_problems(stores: Sequence[StoreFields]) -> Iterator[Problem]:
    """Yield the problems of a list of stores; paths begin with the position in the list.

    Messages have no part of a URL, which may hold a password.
    """
    first: dict[str, int] = {}
    for index, store in enumerate(stores):
        for name, message in _problems(store):
            yield Problem((index, name), None, message)
        if store.prefix in first:
            yield Problem((index, "prefix"), None, f"is the prefix of [{first[store.prefix]}], too; remove one of both")
        first.setdefault(store.prefix, index)


def _problems(store: StoreFields) -> Iterator[tuple[str, str]]:
    scheme = store.prefix.partition("://")[0]
    if problem := url_problem(store.prefix):
        yield "prefix", problem
    elif scheme not in STORE_SCHEMES:
        yield "prefix", f"must begin with {', '.join(f'{scheme}://' for scheme in STORE_SCHEMES)}: a file has no store"
    else:
        yield from _problems_with_scheme(store, scheme)
    if store.endpoint is not None:
        yield from _endpoint_problems(store.endpoint, allow_http=store.allow_http)
    if store.ca_bundle is not None and (problem := _bundle_problem(store.ca_bundle)):
        yield "ca_bundle", problem


def _problems_with_scheme(store: StoreFields, scheme: str) -> Iterator[tuple[str, str]]:
    if store.account is not None and scheme != "az":
        yield "account", f"leave it out: only a prefix of az:// has an account, and this one begins with {scheme}://"
    elif store.account is not None and not _ACCOUNT.fullmatch(store.account):
        yield "account", "must be the name of a storage account: 3 to 24 lowercase letters and digits"
    if store.region is not None and scheme != "s3":
        yield "region", f"leave it out: only a prefix of s3:// has a region, and this one begins with {scheme}://"
    elif store.region is not None and not _REGION.fullmatch(store.region):
        yield "region", "must be the name of a region, such as eu-west-1: lowercase letters, digits, and '-'"


def _endpoint_problems(endpoint: str, *, allow_http: bool) -> Iterator[tuple[str, str]]:
    if not _ENDPOINT.fullmatch(endpoint):
        yield "endpoint", "must be https://HOST or https://HOST:PORT, without user info, query, and fragment"
    elif endpoint.startswith("http://") and not allow_http:
        yield "endpoint", "begins with http://, which sends data unencrypted: use https://, or set allowHttp: true"


def _bundle_problem(bundle: str) -> str | None:
    if "PRIVATE KEY" in bundle:
        return "has a private key: give only the certificates"
    certificates = _CERTIFICATE.findall(bundle)
    if not certificates or len(certificates) != bundle.count("-----BEGIN "):
        return "must be PEM text of certificates: -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
    for number, encoded in enumerate(certificates, 1):
        try:
            base64.b64decode("".join(encoded.split()), validate=True)
        except binascii.Error:
            return f"certificate {number} isn't valid PEM: its text isn't base64"
    return None


def local_stores(
    manifest: Sequence[ObjectStore], local: Sequence[LocalStore | ObjectStoreSpec]
) -> tuple[ObjectStoreSpec, ...]:
    """Return the stores of a run on a user's machine.

    An entry of the file of ``--store-config`` replaces the entry of the manifest with the same prefix as a whole.

    Args:
        manifest: ``spec.objectStores``, without problems.
        local: entries of the file, or those that the task was given, without problems.

    Raises:
        InvalidInput: the manifest names Secrets, which this machine can't read, without such entries; the message has
            the lines to add.
    """
    own = {store.prefix for store in local}
    rest = [(index, store) for index, store in enumerate(manifest) if store.prefix not in own]
    lacking = [(index, store) for index, store in rest if store.secret_ref is not None]
    if lacking:
        fields = ", ".join(f"spec.objectStores[{index}].secretRef" for index, _ in lacking)
        lines = "".join(f"\n  {line_to_add(store, directory='DIR')}" for _, store in lacking)
        raise InvalidInput(
            f"{fields}: a Secret can't be read on this machine; add to the file of --store-config, with the directory "
            f"that has a file for each key of the Secret as DIR:{lines}"
        )
    found = [_as_spec(store) for store in local]
    return (*found, *(_as_spec(store, from_manifest=True) for _, store in rest))


def stores_to_json(stores: Sequence[ObjectStoreSpec]) -> str:
    """Return stores as the value of MASKRCNN_OBJECT_STORES, by which a task gets them."""
    return json.dumps(
        [store.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True) for store in stores],
        separators=(",", ":"),
    )


def stores_from_json(text: str) -> tuple[ObjectStoreSpec, ...]:
    """Return the stores of MASKRCNN_OBJECT_STORES.

    Raises:
        InvalidInput: the text isn't a list of stores, or the stores have problems; none of it is repeated.
    """
    where = f"{OBJECT_STORES_VARIABLE}: the value"
    try:
        entries = json.loads(text)
        if not isinstance(entries, list):
            raise TypeError
        stores = tuple(ObjectStoreSpec.model_validate(entry) for entry in entries)
    except (ValueError, TypeError, RecursionError):
        raise InvalidInput(f"{where} must be a JSON list of object stores, as the operator writes it") from None
    for problem in store_problems(stores):
        raise InvalidInput(f"{where}{dotted(problem.path)} {problem.message}")
    return stores


def line_to_add(store: StoreFields, *, directory: str | None = None) -> str:
    """Return the line of ``--store-config`` that gives a store of a manifest to a user's machine, as YAML.

    Args:
        store: the entry of the manifest, without problems.
        directory: value of ``secretDir``; None for the ambient identity.
    """
    fields = store.model_dump(
        by_alias=True, exclude_none=True, exclude_defaults=True, exclude={"secret_ref", "secret_dir", "from_manifest"}
    )
    if "caBundle" in fields:
        fields["caBundle"] = "PEM"
    if directory is not None:
        fields["secretDir"] = directory
    return f"- {{{', '.join(f'{name}: {json.dumps(value)}' for name, value in fields.items())}}}"


def _as_spec(store: StoreFields, *, from_manifest: bool = False) -> ObjectStoreSpec:
    if isinstance(store, ObjectStoreSpec):
        return store
    fields: dict[str, Any] = store.model_dump(exclude_unset=True)
    return ObjectStoreSpec(**fields, from_manifest=from_manifest)
