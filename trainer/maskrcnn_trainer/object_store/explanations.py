"""Meaning of the providers' error codes, and the sentence for each failure.

The codes are those that the providers document: S3 "Error responses", Azure "Blob Storage error codes", Cloud Storage
"HTTP response codes of the XML API".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from maskrcnn_trainer.object_store import failures
from maskrcnn_trainer.object_store.credential_failures import (
    answer_shown,
    explained_credentials,
    is_source_unavailable,
)
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.permissions import LACKS_READING, Permission, explained_lack
from maskrcnn_trainer.object_store.providers import PROVIDERS

REFUSED = "StoreRefused"
"""Reason of errors about a store that refuses, or that can't be used with its settings."""
PERMISSION_DENIED = "StorePermissionDenied"
BUCKET_NOT_FOUND = "BucketNotFound"
REASONS_OF_REFUSALS = frozenset({REFUSED, PERMISSION_DENIED, BUCKET_NOT_FOUND})


UNSUPPORTED = 501
"""Status of a request that the store doesn't have (RFC 9110, section 15.6.2)."""


class Meaning(Enum):
    """Classes of failures, by what follows from them."""

    ABSENT = auto()
    """There is no such object."""
    CHANGED = auto()
    """The object isn't the one that was listed."""
    PASSING = auto()
    """The store or the way to it fails for a while."""
    REFUSED = auto()
    """The request is refused until a setting, a key, or a permission is changed."""
    LASTING = auto()
    """The object itself can't be read, however often it is tried."""
    FORBIDDEN = auto()
    """The identity may not delete, or the object is protected."""


class Operation(Enum):
    """Operations on a store, as messages name them."""

    HEAD = "looking up an object"
    LIST = "listing"
    READ = "reading"
    WRITE = "writing"
    DELETE = "deleting"
    SIGN = "signing a link"

    @property
    def permission(self) -> Permission:
        """Return the permission that it needs."""
        return Permission[self.name] if self.name in Permission.__members__ else Permission.READ


@dataclass(frozen=True)
class Reached:
    """Way to a store, as far as messages name it.

    Attributes:
        scheme: ``s3``, ``gs``, or ``az``.
        container: the bucket or container.
        endpoint: URL without user and query; None: the provider's own.
        account: of Azure; None: not given.
        region: as given; None: not given.
        ambient: whether the identity is that of the environment, and not of a secret.
        secret: directory of the secret; empty for an ambient identity.
        in_pod: whether this process runs in a pod.
    """

    scheme: str
    container: str
    endpoint: str | None = None
    account: str | None = None
    region: str | None = None
    ambient: bool = False
    secret: str = ""
    in_pod: bool = False

    @property
    def url(self) -> str:
        """Return the URL of the bucket or container."""
        return f"{self.scheme}://{self.container}"

    @property
    def server(self) -> str:
        """Return what the server is called in a message."""
        if self.endpoint is None and self.account is not None:
            return f"https://{self.account}.blob.core.windows.net"
        return self.endpoint or f"the provider's own endpoint of {self.scheme}://"


_KEY_ID = "the store doesn't know the access key", "correct {keys}"
_SIGNATURE = "the store refused the signature", "correct {keys}"
_TOKEN = "the token has expired or is invalid", "renew {keys}"
_CLOCK = "the clock of this machine differs from the store's", "set it by NTP"
_BUCKET = "there is no such bucket", "correct the bucket's name, {region}, or {endpoint}"
_CONTAINER = "there is no such container", "correct the container's name, account, or {endpoint}"
_REGION = "the bucket is in another region", "set {region} to the bucket's region"
_ARCHIVED = "the object is archived", "restore it to a class that can be read"
_PROTECTED_AZ = "an immutability policy protects the blob", "use a container without one"
_LEASED_AZ = "the blob has a lease", "end the lease"
_SKEWED_AZ = "the store refused the signature", "correct {keys}, and check that this machine's clock is right"

_REFUSALS: dict[str, dict[str, tuple[str, str]]] = {
    "s3": {
        "InvalidAccessKeyId": _KEY_ID,
        "XAdminUserNotFound": _KEY_ID,  # versitygw, with status 404
        "SignatureDoesNotMatch": _SIGNATURE,
        "QuotaExceeded": ("the quota of the bucket or its user is used up", "delete objects, or raise the quota"),
        "ExpiredToken": _TOKEN,
        "ExpiredTokenException": _TOKEN,
        "InvalidToken": _TOKEN,
        "InvalidIdentityToken": _TOKEN,
        "TokenRefreshRequired": _TOKEN,
        "RequestTimeTooSkewed": _CLOCK,
        "RequestExpired": _CLOCK,
        "AccessDenied": LACKS_READING["s3"],
        "AllAccessDisabled": ("the provider has disabled access", "ask the owner of the bucket"),
        "AccountProblem": ("the account has a problem", "ask the owner of the account"),
        "NotSignedUp": ("the account isn't signed up for S3", "use keys of an account that is"),
        "NoSuchBucket": _BUCKET,
        "InvalidBucketName": _BUCKET,
        "PermanentRedirect": _REGION,
        "TemporaryRedirect": _REGION,
        "Redirect": _REGION,
        "AuthorizationHeaderMalformed": _REGION,
        "IllegalLocationConstraintException": _REGION,
    },
    "gs": {
        "InvalidSecurity": _SIGNATURE,
        "SignatureDoesNotMatch": _SIGNATURE,
        "AuthenticationRequired": ("the store refused the identity", "correct {keys}"),
        "ExpiredToken": _TOKEN,
        "InvalidToken": _TOKEN,
        "RequestTimeTooSkewed": _CLOCK,
        "AccessDenied": LACKS_READING["gs"],
        "UserProjectAccessDenied": LACKS_READING["gs"],
        "UserProjectMissing": ("the bucket makes its readers pay", "use a bucket whose owner pays"),
        "AccountProblem": ("the account has a problem", "ask the owner of the account"),
        "NoSuchBucket": _BUCKET,
        "InvalidBucketName": _BUCKET,
    },
    "az": {
        "AuthenticationFailed": _SKEWED_AZ,
        "InvalidAuthenticationInfo": _TOKEN,
        "NoAuthenticationInformation": ("the request had no identity", "correct {keys}"),
        "AuthorizationFailure": LACKS_READING["az"],
        "AuthorizationPermissionMismatch": LACKS_READING["az"],
        "AuthorizationResourceTypeMismatch": LACKS_READING["az"],
        "AuthorizationServiceMismatch": LACKS_READING["az"],
        "InsufficientAccountPermissions": LACKS_READING["az"],
        "AuthorizationProtocolMismatch": ("the SAS doesn't allow this protocol", "use {endpoint} with https://"),
        "AuthorizationSourceIPMismatch": ("this address is refused", "allow it in the SAS or the account's network"),
        "KeyBasedAuthenticationNotPermitted": ("the account allows no keys", "use a SAS of a user, or an identity"),
        "PublicAccessNotPermitted": ("the account allows no anonymous access", "correct {keys}"),
        "BlobImmutableDueToPolicy": _PROTECTED_AZ,
        "LeaseIdMissing": _LEASED_AZ,
        "AccountIsDisabled": ("the account is disabled", "ask the owner of the account"),
        "ContainerNotFound": _CONTAINER,
        "ContainerDisabled": _CONTAINER,
        "ContainerBeingDeleted": ("the container is being deleted", "use another container"),
        "InvalidResourceName": _CONTAINER,
        "ResourceNotFound": _CONTAINER,
    },
}
"""What a code means and what would be right, of refusals; by scheme and code."""

_LASTING = {
    "InvalidObjectState": _ARCHIVED,
    "BlobArchived": _ARCHIVED,
    "BlobBeingRehydrated": _ARCHIVED,
}

_PASSING = {
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "RequestTimeoutException", "Throttling",
    "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "BandwidthLimitExceeded", "RateLimitExceeded",
    "OperationAborted", "ServerBusy", "OperationTimedOut", "Busy",
    "NoSuchUpload", "InvalidPart", "InvalidBlockList",
}  # fmt: skip
"""Codes of throttling and of failures of the store, whatever their status is.

The last three follow on a completion of parts whose first answer was lost: the upload is repeated from its begin.
"""

_THROTTLING = {
    "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded",
    "BandwidthLimitExceeded", "RateLimitExceeded", "ServerBusy",
}  # fmt: skip

_ABSENT = {"NoSuchKey", "NoSuchVersion", "BlobNotFound", "NoSuchObject"}
_PASSING_STATUSES = (408, 409, 423, 425, 429)
_PASSING_KINDS = (
    FailureKind.UNKNOWN_HOST,
    FailureKind.UNREACHABLE,
    FailureKind.INTERRUPTED,
    FailureKind.TIMEOUT,
    FailureKind.HELPER,
    FailureKind.PROXY,
    FailureKind.OTHER,
)
_OF_MEANING = {
    Meaning.PASSING: ("the store is unavailable", "try again later"),
    Meaning.ABSENT: ("there is no such object", "correct the URL"),
    Meaning.CHANGED: ("the object has changed since it was listed", "start again once nothing writes it"),
}
_CERTIFICATES = {
    failures.ISSUER: ("no known CA has issued its certificate", "set caBundle to the CA's certificate in PEM"),
    failures.NAME: ("its certificate is for another name", "set endpoint to a name in the certificate"),
    failures.EXPIRED: (
        "its certificate has expired or isn't valid yet", "renew it, or correct the clock of this machine",
    ),
    failures.OTHER: ("its certificate is refused", "replace the certificate, or set caBundle to its CA's"),
}  # fmt: skip


def meaning_of(failure: Failure, operation: Operation, scheme: str) -> Meaning:
    """Return the class of a failure."""
    if failure.kind in (FailureKind.UNLISTABLE, FailureKind.UNSIGNABLE):
        return Meaning.LASTING
    if failure.kind is FailureKind.SOURCE:
        return Meaning.CHANGED
    if failure.kind is FailureKind.CREDENTIALS:
        return Meaning.PASSING if is_source_unavailable(failure) or failure.code in _PASSING else Meaning.REFUSED
    if failure.kind is not FailureKind.ANSWER:
        passing = failure.kind in _PASSING_KINDS and failure.status != 407
        return Meaning.PASSING if passing else Meaning.REFUSED
    if operation is Operation.DELETE and _is_forbidden(failure, scheme):
        return Meaning.FORBIDDEN
    return meaning_of_code(failure.code, operation, scheme) or _meaning_of_status(failure.status, operation)


def _is_forbidden(failure: Failure, scheme: str) -> bool:
    """Return whether a deletion was refused for lack of a permission, or since something protects the object."""
    known = _REFUSALS[scheme].get(failure.code)
    if known is None:
        return failure.code not in _PASSING and failure.status in (403, 409, 412)
    return known in (LACKS_READING[scheme], _PROTECTED_AZ, _LEASED_AZ)


def meaning_of_code(code: str, operation: Operation, scheme: str) -> Meaning | None:
    """Return the class of failures with a code; None: the code is unknown."""
    groups = (
        (_REFUSALS[scheme], Meaning.REFUSED),
        (_LASTING, Meaning.LASTING),
        (_PASSING, Meaning.PASSING),
        # a listing has no key: an endpoint that begins with the bucket takes the bucket's name for one
        (_ABSENT, Meaning.REFUSED if operation is Operation.LIST else Meaning.ABSENT),
    )
    return next((meaning for codes, meaning in groups if code in codes), None)


_WITHOUT_KEY = (Operation.LIST, Operation.WRITE)
"""Operations for which no object has to exist."""


def _meaning_of_status(status: int, operation: Operation) -> Meaning:
    if status == UNSUPPORTED:
        return Meaning.REFUSED
    if status >= 500 or status in _PASSING_STATUSES:
        return Meaning.PASSING
    if status in (412, 416):
        return Meaning.CHANGED
    return Meaning.ABSENT if status == 404 and operation not in _WITHOUT_KEY else Meaning.REFUSED


def is_throttled(failure: Failure) -> bool:
    """Return whether the store asks for fewer requests."""
    return failure.status == 429 or failure.code in _THROTTLING


def sentence(failure: Failure, operation: Operation, url: str, reached: Reached) -> str:
    """Return the sentence for a failure: the URL, what is wrong, the answer, and what would be right."""
    what, remedy = _explained(failure, operation, reached)
    # the answer of a source of the identity isn't the store's
    shown = "" if failure.kind is FailureKind.CREDENTIALS else answer_shown(failure)
    return f"{url if url.isprintable() else ascii(url)}: {operation.value} failed{shown}: {what}; {remedy}"


def reason_of_refusal(failure: Failure, operation: Operation, scheme: str) -> str:
    """Return the reason of the error of a refused request, one of REASONS_OF_REFUSALS."""
    if failure.kind is not FailureKind.ANSWER:
        return REFUSED
    found = _of_answer(failure, operation, scheme)
    if found == explained_lack(scheme, operation.permission):
        return PERMISSION_DENIED
    return BUCKET_NOT_FOUND if found in (_BUCKET, _CONTAINER) else REFUSED


def _explained(failure: Failure, operation: Operation, reached: Reached) -> tuple[str, str]:
    """Return what is wrong and what would be right."""
    if failure.kind is FailureKind.ANSWER:
        what, remedy = _of_answer(failure, operation, reached.scheme)
    else:
        what, remedy = _of_kind(failure, reached)
    return what, remedy.format(
        keys=_keys(reached), region=_region(reached), endpoint="the endpoint in objectStores", server=reached.server
    )


def _of_answer(failure: Failure, operation: Operation, scheme: str) -> tuple[str, str]:
    known = _REFUSALS[scheme].get(failure.code) or _LASTING.get(failure.code)
    permission = explained_lack(scheme, operation.permission)
    if known:
        return permission if known == LACKS_READING[scheme] else known
    if is_throttled(failure):
        return "the store limits the rate of requests", "try again later, or with fewer readers at once"
    of_meaning = _OF_MEANING.get(meaning_of(failure, operation, scheme))
    if of_meaning:
        return of_meaning
    of_status = {
        403: permission,
        401: ("the store refused the identity", "correct {keys}"),
        404: _CONTAINER if scheme == "az" else _BUCKET,
        UNSUPPORTED: ("the store doesn't have this kind of request", "use another store, or correct {endpoint}"),
    }
    redirect = _REGION if scheme == "s3" else ("the store redirects the request", "correct {endpoint}")
    other = ("the store refused the request", "correct the URL, {region}, or {endpoint}")
    return of_status.get(failure.status, redirect if 300 <= failure.status < 400 else other)


def _of_kind(failure: Failure, reached: Reached) -> tuple[str, str]:
    account = ", or the account" if reached.scheme == "az" else ""
    secret = f" in {reached.secret}" if reached.secret else ""
    table: dict[FailureKind, tuple[str, str]] = {
        FailureKind.SECRET: (f"the store's secret{secret} can't be used: {failure.detail}", "correct {keys}"),
        FailureKind.UNKNOWN_HOST: ("the name of {server} is unknown", f"correct {{endpoint}}{account}, or the DNS"),
        FailureKind.UNREACHABLE: ("there is no connection to {server}", "correct {endpoint}, or allow the way to it"),
        FailureKind.PROXY: ("the proxy didn't pass the request on", "correct HTTPS_PROXY, HTTP_PROXY, or NO_PROXY"),
        FailureKind.CA_BUNDLE: ("caBundle has no valid certificate", "give certificates in PEM"),
        FailureKind.NOT_TLS: (
            "{server} doesn't answer with TLS",
            "correct the port, or use http:// with allowHttp: true",
        ),
        FailureKind.INTERRUPTED: ("the connection to {server} broke off", "try again later"),
        FailureKind.TIMEOUT: ("{server} didn't answer in time", "try again later, or allow the way to it"),
        FailureKind.BAD_ANSWER: ("{server} doesn't answer like an object store", "correct {endpoint}"),
        FailureKind.UNLISTABLE: (
            f"the key {failure.detail!a} can't be read, since it has an empty, '.', or '..' segment or a control "
            "character",
            "rename that object",
        ),
        FailureKind.SOURCE: ("the local file has changed since its SHA-256 was computed", "publish it again"),
        FailureKind.UNSIGNABLE: _unsignable(failure, reached),
        FailureKind.HELPER: (_helper_end(failure.detail), "try again"),
    }
    if failure.kind is FailureKind.CREDENTIALS:
        passing = meaning_of(failure, Operation.READ, reached.scheme) is Meaning.PASSING
        return explained_credentials(
            failure, reached.scheme, passing=passing, ambient=reached.ambient, in_pod=reached.in_pod
        )
    if failure.kind is FailureKind.CERTIFICATE:
        what, remedy = _CERTIFICATES[failure.detail]
        return f"{reached.server} can't be trusted: {what}", remedy
    what, remedy = table.get(failure.kind, ("the request failed", "try again later"))
    return what.replace("{server}", reached.server), remedy.replace("{server}", reached.server)


def _helper_end(code: str) -> str:
    return f"the helper process ended with exit code {code}" if code else "the helper process stopped answering"


_SIGNERS = {
    "s3": "use an access key",
    "gs": "use the key of a service account, or an identity with the role Service Account Token Creator",
    "az": "use the account's key, or an identity with the role Storage Blob Delegator",
}


def _unsignable(failure: Failure, reached: Reached) -> tuple[str, str]:
    if failure.detail:
        what = "the identity can't sign a link to a name with a space, a %, or a character beyond ASCII"
        return what, "use the account's key, or read the file with artifacts get"
    return "the identity can't sign links", _SIGNERS[reached.scheme]


def _keys(reached: Reached) -> str:
    provider = PROVIDERS[reached.scheme]
    if reached.ambient:
        return f"the {provider.prefix}* variables of the environment, or the service account"
    return f"{' or '.join(', '.join(keys) for keys in provider.secret_keys)} in the store's secret"


def _region(reached: Reached) -> str:
    shown = f" (now {reached.region})" if reached.region else ""
    return f"the region in objectStores{shown}"
