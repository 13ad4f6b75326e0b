"""Facts about a failed request, read from the error of the library.

The library's text holds the whole URL, with a signature in it, and the server's answer. It never leaves this module:
a :class:`Failure` has only a status, the provider's code, and words of this project.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from maskrcnn_trainer.object_store.providers import is_own_host


class FailureKind(StrEnum):
    """Kinds of failed requests."""

    ANSWER = "answer"
    """The store answered with an error; ``status`` and ``code`` are set if they are known."""
    CREDENTIALS = "credentials"
    """The identity could not be obtained; ``detail`` names its source, and ``cause`` why the source didn't answer."""
    SECRET = "secret"  # noqa: S105 - a kind of failure
    """The files of the store's secret can't be used; ``detail`` names the keys."""
    UNKNOWN_HOST = "unknown host"
    UNREACHABLE = "unreachable"
    PROXY = "proxy"
    CERTIFICATE = "certificate"
    """TLS refused; ``detail`` is one of ISSUER, NAME, EXPIRED, and OTHER."""
    CA_BUNDLE = "CA bundle"
    NOT_TLS = "not TLS"
    INTERRUPTED = "interrupted"
    TIMEOUT = "timeout"
    BAD_ANSWER = "bad answer"
    """The answer isn't one of an object store."""
    UNLISTABLE = "unlistable"
    """The listing has a key that can't be read; ``detail`` is the key."""
    SOURCE = "source"
    """A local file isn't the one that was to be uploaded."""
    UNSIGNABLE = "unsignable"
    """The identity can't sign a link; ``detail`` is the key if it can sign others."""
    HELPER = "helper"
    """The helper process ended; ``detail`` is its exit code, empty if it was ended because it was silent."""
    OTHER = "other"


ISSUER, NAME, EXPIRED, OTHER = "issuer", "name", "expired", "other"
METADATA, UNUSABLE = "metadata", "unusable"
"""Source of an identity: the machine's metadata, for lack of any other, and variables that the library can't use."""
POD_IDENTITY, WEB_IDENTITY, LOGIN = "pod identity", "web identity", "login"
"""Source of an identity: the agent of EKS Pod Identity, AWS' token service, and Azure's."""


@dataclass(frozen=True)
class Failure:
    """A failed request.

    Attributes:
        kind: what failed.
        status: of the HTTP answer; 0 if there was none.
        code: the provider's code, at most 64 letters or digits that read like words; empty if there was none.
        detail: a word of this project, or a name; see :class:`FailureKind`.
        address: of the source of the identity, ``https://HOST:PORT``; empty if it isn't known, and for other kinds.
        cause: why the source of the identity gave no answer; None: it answered, or wasn't requested.
    """

    kind: FailureKind
    status: int = 0
    code: str = ""
    detail: str = ""
    address: str = ""
    cause: FailureKind | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the failure as JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Failure:
        """Return the failure of :meth:`as_record`."""
        cause = record["cause"]
        kinds = {"kind": FailureKind(record["kind"]), "cause": None if cause is None else FailureKind(cause)}
        return cls(**{**record, **kinds})


_SOURCE = "\nDebug source:\n"
"""Begin of the part in which texts of the server are quoted, so that they can't imitate the library."""

_STATUS = re.compile(r"inner: Status \{\s+status: (\d{3}),")
_DELETION = re.compile(r'\bDeleteFailed \{[^{}]*?\bcode: "(\d{3})"')
"""Status of one deletion in a batch of Azure."""
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9]{1,64})\s*</Code>")
_MOST_DIGITS = 2
"""Digits in a code, such as InvalidMd5; an identifier of a key or a signature has more, or no lowercase letter."""
_URI = re.compile(r"\buri: (?:None,\n|Some\(\s+(\S+?),\n)")
"""URL of a request; the library hides those with a token: of the exchange of one at AWS, and of each SAS of Azure."""
_OF_SOURCE = r'\s*Generic \{\s+store: "\w+",\s+source: '
_TOKEN = re.compile(_OF_SOURCE + r"Token(?:Request|ResponseBody) \{")
"""Request for a token of Google or Azure."""
_UNREADABLE_KEYS = re.compile(_OF_SOURCE + r'(?:HttpError \{\s+kind: Decode,\s+source: Error\(|"Invalid (AssumeRole))')
"""Answer of a source of AWS that isn't JSON, which no store of S3 sends, or isn't that of its token service."""
_INVALID_PATH = re.compile(r'^\s*InvalidPath \{.*?\bpath: "((?:[^"\\]|\\.)*)"', re.DOTALL)
_METADATA = re.compile(r"https?://[^/]+/(?:latest/(?:api/token|meta-data/)|computeMetadata/|metadata/identity/)")
"""Requests for the identity of the machine: of EC2, of Compute Engine, and of Azure."""
_TOKEN_CODE = re.compile(r"\b(AADSTS[0-9]{4,8}|[A-Z][A-Za-z]{3,40}Exception)\b")
"""Codes of Azure's token service, and of the agent of EKS, whose answers aren't XML."""
_CERTIFICATES = (("UnknownIssuer", ISSUER), ("NotValidForName", NAME), ("Expired", EXPIRED), ("NotValidYet", EXPIRED))
_CAUSES = (
    (r"\bkind: Builder\b|No certificates found", FailureKind.CA_BUNDLE),
    (r"\bdns error\b", FailureKind.UNKNOWN_HOST),
    (r"\bTunnelUnsuccessful\b|\bConnectFailed\b|\bProxyAuth", FailureKind.PROXY),
    (r"\bInvalidMessage\b|\bInvalidContentType\b", FailureKind.NOT_TLS),
    (r"\bkind: Timeout\b|\bTimedOut\b", FailureKind.TIMEOUT),
    (r"\bConnectError\b|\bkind: Connect\b", FailureKind.UNREACHABLE),
    (r"\bkind: Interrupted\b|\bUnexpectedEof\b|\bIncompleteMessage\b|\bConnectionReset\b", FailureKind.INTERRUPTED),
    (
        r"InvalidListResponse|UnexpectedRange|NotPartial|\bHeader \{|\bkind: (?:Decode|Redirect)\b",
        FailureKind.BAD_ANSWER,
    ),
    (
        r"\bCredential\b|OpenCredentials|ReadPem|InvalidAccessKey|Missing\w+|token file|TokenFile",
        FailureKind.CREDENTIALS,
    ),
)
"""Patterns over the library's structure of causes; the first that is found counts."""
_CAUSE_PATTERNS = tuple((re.compile(pattern), kind) for pattern, kind in _CAUSES)
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


def failure_of(raised: str, text: str, scheme: str, endpoint: str | None, token_service: str = "") -> Failure:
    """Return the facts about an exception of the library.

    Args:
        raised: name of the exception's class.
        text: its whole text.
        scheme: of the store.
        endpoint: of the store; None: the provider's own.
        token_service: URL of AWS' token service, which the library hides; empty for other providers.
    """
    source = text.rpartition(_SOURCE)[2]
    if found := _INVALID_PATH.match(source):
        return Failure(FailureKind.UNLISTABLE, detail=_unquoted(found[1]))
    if lack := _lack_of_an_identity(source, scheme, endpoint, token_service):
        return lack
    if "BareRedirect" in source:
        return Failure(FailureKind.ANSWER, status=301)
    if status := _status(source):
        return Failure(FailureKind.PROXY if status == 407 else FailureKind.ANSWER, status=status, code=_code(source))
    if detail := _certificate(source):
        return Failure(FailureKind.CERTIFICATE, detail=detail)
    kind = _cause(source)
    named = raised.isidentifier() and kind is not FailureKind.CREDENTIALS
    return Failure(kind, detail=raised if named else "")


def _lack_of_an_identity(source: str, scheme: str, endpoint: str | None, token_service: str) -> Failure | None:
    """Return the failure of a request for the identity; None: the request was another one."""
    request = _URI.search(source)
    uri = (request[1] or "") if request else ""
    hidden = request is not None and not uri and scheme == "s3"
    unreadable = _UNREADABLE_KEYS.match(source) if scheme == "s3" else None
    elsewhere = bool(uri) and not _is_of_store(uri, scheme, endpoint)
    if not (hidden or elsewhere or unreadable or _TOKEN.match(source)):
        return None
    if hidden or (unreadable and unreadable[1]):
        uri, detail = token_service, WEB_IDENTITY
    else:
        detail = _source_of(uri, scheme)
    if status := _status(source):
        cause = FailureKind.PROXY if status == 407 else None
        code = _code(source) or _token_code(source)
        return Failure(FailureKind.CREDENTIALS, status, code, detail, _address(uri), cause)
    if unreadable or "BareRedirect" in source:
        cause = FailureKind.BAD_ANSWER
    else:
        cause = FailureKind.CERTIFICATE if _certificate(source) else _cause(source)
    return Failure(FailureKind.CREDENTIALS, detail=detail, address=_address(uri), cause=cause)


def _source_of(uri: str, scheme: str) -> str:
    """Return the source of an identity with a URL; empty: another one."""
    if _METADATA.match(uri):
        return METADATA
    path = urlsplit(uri).path
    if scheme == "s3" and path == "/v1/credentials":
        return POD_IDENTITY
    return LOGIN if scheme == "az" and "/oauth2/" in path else ""


def _address(uri: str) -> str:
    """Return scheme, host, and port of a URL."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if _HOST.fullmatch(host) else ""


def _certificate(source: str) -> str:
    """Return why a certificate was refused; empty: none was."""
    if "InvalidCertificate(" not in source or "BadEncoding" in source:
        return ""
    return next((word for mark, word in _CERTIFICATES if mark in source), OTHER)


def _cause(source: str) -> FailureKind:
    """Return the kind of a failure without an answer."""
    return next((kind for pattern, kind in _CAUSE_PATTERNS if pattern.search(source)), FailureKind.OTHER)


def _status(source: str) -> int:
    found = _STATUS.search(source) or _DELETION.search(source)
    return int(found[1]) if found else 0


def _code(source: str) -> str:
    found = _CODE.search(source)
    return found[1] if found and _reads_like_words(found[1]) else ""


def _token_code(source: str) -> str:
    found = _TOKEN_CODE.search(source)
    return found[1] if found else ""


def _reads_like_words(code: str) -> bool:
    """Return whether a text can be a code, and neither a key nor a signature that the server sends back."""
    return code[0].isupper() and not code.isupper() and sum(character.isdigit() for character in code) <= _MOST_DIGITS


def _is_of_store(uri: str, scheme: str, endpoint: str | None) -> bool:
    """Return whether a request went to the store, and not to a source of credentials."""
    if endpoint is not None:
        return uri.startswith(endpoint.rstrip("/") + "/")
    return is_own_host(scheme, urlsplit(uri).hostname or "")


def _unquoted(text: str) -> str:
    """Return a string without the escapes of Rust's debug format."""

    def character(escape: re.Match[str]) -> str:
        if escape[1]:
            return chr(int(escape[1], 16))
        return _ESCAPES.get(escape[2], escape[2])

    return re.sub(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))", character, text)
