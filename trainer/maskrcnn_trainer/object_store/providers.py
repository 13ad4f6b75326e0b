"""Facts about each provider: its own hosts, and the environment variables of its clients."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Provider:
    """One provider of object storage, or one protocol that other stores speak, too.

    Attributes:
        hosts: pattern of the hosts that only the provider itself answers.
        prefix: of the environment variables that its clients read.
        endpoint_variables: the variables that name an endpoint; the first that is set counts.
        http_variable: the variable that allows ``http://`` for an endpoint of the environment.
        other_variables: further variables by which its clients find an identity.
        secret_keys: the sets of keys that a Secret can have; one of them must be complete.
        optional_keys: keys that a Secret can have in addition.
    """

    hosts: re.Pattern[str]
    prefix: str
    endpoint_variables: tuple[str, ...]
    http_variable: str
    other_variables: tuple[str, ...]
    secret_keys: tuple[tuple[str, ...], ...]
    optional_keys: tuple[str, ...] = ()


_AWS_REGION = r"[a-z]{2}(?:-[a-z]+)+-[0-9]+"
# Of amazonaws.com only the names of S3: users' own servers are below compute, elb, and execute-api of the same domain.
_S3_HOSTS = (
    rf"(?:[a-z0-9.-]+\.)?s3(?:-[a-z0-9-]+|express-[a-z0-9-]+)?(?:\.dualstack)?(?:\.{_AWS_REGION})?(?:\.vpce)?"
    r"\.amazonaws\.com(?:\.cn)?"
)

PROVIDERS = {
    "s3": Provider(
        hosts=re.compile(_S3_HOSTS),
        prefix="AWS_",
        endpoint_variables=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        http_variable="AWS_ALLOW_HTTP",
        other_variables=(),
        secret_keys=(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),),
        optional_keys=("AWS_SESSION_TOKEN",),
    ),
    "gs": Provider(
        hosts=re.compile(r"(?:[a-z0-9-]+\.)*googleapis\.com"),
        prefix="GOOGLE_",
        endpoint_variables=("GOOGLE_BASE_URL",),
        http_variable="GOOGLE_ALLOW_HTTP",
        other_variables=(),
        secret_keys=(("GOOGLE_SERVICE_ACCOUNT_KEY",),),
    ),
    "az": Provider(
        hosts=re.compile(
            r"[a-z0-9-]+(?:\.[a-z0-9]+)?(?:\.privatelink)?\.blob\."
            r"(?:core\.windows\.net|storage\.azure\.net|core\.usgovcloudapi\.net|core\.chinacloudapi\.cn)"
        ),
        prefix="AZURE_",
        endpoint_variables=("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        http_variable="AZURE_ALLOW_HTTP",
        other_variables=("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET"),
        secret_keys=(
            ("AZURE_STORAGE_ACCOUNT_KEY",),
            ("AZURE_STORAGE_SAS_TOKEN",),
            ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"),
        ),
    ),
}
"""Providers by the scheme of their URLs."""


def is_own_host(scheme: str, host: str) -> bool:
    """Return whether a host, without its port, belongs to the provider of a scheme."""
    return PROVIDERS[scheme].hosts.fullmatch(host.lower()) is not None
