"""Failures to obtain an identity: whether they pass, and the sentence for each.

The codes are those of AWS' "AssumeRoleWithWebIdentity", of EKS Auth's "AssumeRoleForPodIdentity", and of the metadata
servers of Azure and Compute Engine.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from maskrcnn_trainer.object_store.failures import LOGIN, METADATA, POD_IDENTITY, WEB_IDENTITY, Failure, FailureKind

_PASSING_STATUSES = (408, 410, 425, 429)
"""Statuses below 500 that pass; Azure's metadata server answers 410 while it is updated."""
_PASSING_CODES = {"IDPCommunicationError"}
"""Codes that pass: AWS couldn't reach the issuer of the token."""
_UNREACHED = (FailureKind.UNKNOWN_HOST, FailureKind.UNREACHABLE, FailureKind.TIMEOUT)
_PASSING_CAUSES = (*_UNREACHED, FailureKind.INTERRUPTED, FailureKind.PROXY, FailureKind.OTHER)

_TRUST_POLICY = (
    "{source} doesn't let this service account assume the role",
    "correct AWS_ROLE_ARN, or the role's trust policy: OIDC provider, namespace, and name of the service account",
)
_POD_ROLE = (
    "{source} can't assume the role of this service account",
    "correct the role of the association of EKS Pod Identity; its trust policy allows pods.eks.amazonaws.com "
    "sts:AssumeRole and sts:TagSession",
)
_REFUSALS: dict[str, tuple[str, str]] = {
    WEB_IDENTITY: _TRUST_POLICY,
    POD_IDENTITY: _POD_ROLE,
    LOGIN: (
        "{source} refused to give a token",
        "correct the identity's federated credential (issuer, namespace, and name of the service account), or {keys}",
    ),
}
"""Problem and remedy if a source refuses, by source."""
_REFUSALS_BY_CODE: dict[tuple[str, str], tuple[str, str]] = {
    (WEB_IDENTITY, "InvalidIdentityToken"): (
        "{source} doesn't accept the token of this service account",
        "create the cluster's OIDC provider in IAM, with the audience sts.amazonaws.com, or correct AWS_ROLE_ARN",
    ),
    (WEB_IDENTITY, "ExpiredTokenException"): (
        "{source} refused the token of this service account, since it has expired",
        "correct the clock of this machine, or renew AWS_WEB_IDENTITY_TOKEN_FILE",
    ),
    (WEB_IDENTITY, "RegionDisabledException"): (
        "{source} is disabled for this account",
        "activate the token service of the region in IAM, or set another region",
    ),
}
_REFUSALS_BY_STATUS: dict[tuple[str, str, int], tuple[str, str]] = {
    ("s3", POD_IDENTITY, 404): (
        "{source} knows no role for this service account",
        "create an association of EKS Pod Identity with its namespace and name",
    ),
    ("gs", METADATA, 403): (
        "{source} may not give this service account an identity",
        "grant it Workload Identity User on the Google account that iam.gke.io/gcp-service-account names",
    ),
}
_PROFILES = {"s3": " (profiles in ~/.aws aren't read: aws configure export-credentials --format env prints variables)"}


def is_source_unavailable(failure: Failure) -> bool:
    """Return whether the source of the identity can't be reached, or fails, for a while."""
    if failure.cause is not None:
        return failure.cause in _PASSING_CAUSES and failure.status != 407
    return failure.status >= 500 or failure.status in _PASSING_STATUSES or failure.code in _PASSING_CODES


def answer_shown(failure: Failure) -> str:
    """Return status and code as messages show them, with a space before; empty if there was no answer."""
    answer = ", ".join(part for part in (str(failure.status or ""), failure.code) if part)
    return f" (HTTP {answer})" if answer else ""


def explained_credentials(
    failure: Failure, scheme: str, *, passing: bool, ambient: bool, in_pod: bool
) -> tuple[str, str]:
    """Return what is wrong and what would be right if an identity could not be obtained.

    Args:
        failure: of the kind CREDENTIALS.
        scheme: of the store.
        passing: whether it may pass.
        ambient: whether the identity is that of the environment, and not of a secret.
        in_pod: whether this process runs in a pod.
    """
    unreached = failure.cause in _UNREACHED
    if failure.detail == METADATA and not in_pod and (unreached or not passing):
        return _no_identity(failure, scheme, in_pod=in_pod)
    if passing:
        return _unavailable(failure, scheme, in_pod=in_pod)
    if failure.cause is not None:
        return _unusable_answer(failure)
    known = (
        _REFUSALS_BY_CODE.get((failure.detail, failure.code))
        or _REFUSALS_BY_STATUS.get((scheme, failure.detail, failure.status))
        or (_REFUSALS.get(failure.detail) if ambient else None)
    )
    if known:
        what, remedy = known
        return what.replace("{source}", _source(failure)) + answer_shown(failure), remedy
    if failure.detail == METADATA or not failure.status:
        return _no_identity(failure, scheme, in_pod=in_pod)
    return f"{_source(failure)} refused the request{answer_shown(failure)}", "correct {keys}"


def _source(failure: Failure) -> str:
    return f"{failure.address}, which gives the identity," if failure.address else "the source of the identity"


def _no_identity(failure: Failure, scheme: str, *, in_pod: bool) -> tuple[str, str]:
    profiles = "" if in_pod else _PROFILES.get(scheme, "")
    return f"no usable identity was found{answer_shown(failure)}", f"correct {{keys}}{profiles}"


def _unavailable(failure: Failure, scheme: str, *, in_pod: bool) -> tuple[str, str]:
    source = _source(failure)
    host = urlsplit(failure.address).hostname or "its address"
    if failure.cause in _UNREACHED:
        way = "allow the way to it"
        if in_pod:
            way += " (networkPolicy.objectStores), and name it in NO_PROXY if a proxy is set"
        if failure.detail == METADATA and scheme != "gs":
            way = f"use a service account with an identity (podOverrides.serviceAccountName), or {way}"
        if failure.cause is FailureKind.UNKNOWN_HOST:
            return f"the name of {source} is unknown", f"correct it or the DNS, or {way}"
        return f"{source} can't be reached", way
    if failure.cause is FailureKind.PROXY:
        return f"{source} can't be reached through the proxy", f"correct the proxy, or name {host} in NO_PROXY"
    if failure.cause is FailureKind.INTERRUPTED:
        return f"{source} broke off the connection", "try again later"
    if failure.status == 429 or not failure.status or failure.status < 500:
        return f"{source} is busy{answer_shown(failure)}", "try again later, or with fewer pods at once"
    return f"{source} fails{answer_shown(failure)}", "try again later, or name it in NO_PROXY if a proxy is set"


def _unusable_answer(failure: Failure) -> tuple[str, str]:
    source = _source(failure)
    if failure.cause is FailureKind.CERTIFICATE:
        return f"{source} can't be trusted: its certificate is refused", "set caBundle to the certificate of its CA"
    if failure.cause is FailureKind.PROXY:
        return (
            f"{source} can't be reached through the proxy{answer_shown(failure)}",
            "correct HTTPS_PROXY, HTTP_PROXY, or NO_PROXY",
        )
    return f"{source} doesn't answer like a source of identities", "correct {keys}, or NO_PROXY if a proxy is set"
