"""Additions of cloud providers' webhooks to a pod whose service account has an identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class WebIdentity:
    """Additions of one webhook.

    Attributes:
        scheme: of the stores that the identity is for.
        volume: name of the projected volume with the token.
        directory: where it is mounted.
        variables: of each container.
        labels: of pods that the webhook changes; empty: it goes by the service account alone.
    """

    scheme: str
    volume: str
    directory: str
    variables: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


_EKS = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
_EKS_AGENT = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
_AKS_TOKENS = "/var/run/secrets/azure/tokens"
_AKS_HASH = "0123456789abcdef0123456789abcd"
_AKS_RESERVED = f"/var/run/secrets/azure/wi/{_AKS_HASH}"
_AWS_REGION = {
    "AWS_STS_REGIONAL_ENDPOINTS": "regional",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_REGION": "eu-west-1",
}
_AZURE = {
    "AZURE_CLIENT_ID": "11111111-0000-4000-8000-000000000000",
    "AZURE_TENANT_ID": "22222222-0000-4000-8000-000000000000",
    "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
}
_AKS_LABELS = {"azure.workload.identity/use": "true"}

WEB_IDENTITIES = {
    "AWS role": WebIdentity(
        "s3",
        "aws-iam-token",
        _EKS,
        {
            **_AWS_REGION,
            "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/lab",
            "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_EKS}/token",
        },
    ),
    "EKS Pod Identity": WebIdentity(
        "s3",
        "eks-pod-identity-token",
        _EKS_AGENT,
        {
            **_AWS_REGION,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{_EKS_AGENT}/eks-pod-identity-token",
        },
    ),
    "AKS": WebIdentity(
        "az",
        "azure-identity-token",
        _AKS_TOKENS,
        {**_AZURE, "AZURE_FEDERATED_TOKEN_FILE": f"{_AKS_TOKENS}/azure-identity-token"},
        _AKS_LABELS,
    ),
    "AKS, reserved volume": WebIdentity(
        "az",
        f"azure-workload-identity-reserved-{_AKS_HASH}",
        _AKS_RESERVED,
        {**_AZURE, "AZURE_FEDERATED_TOKEN_FILE": f"{_AKS_RESERVED}/token/azure-identity-token"},
        _AKS_LABELS,
    ),
}
"""Additions by webhook."""
