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
    """The identity could not be obtained; ``detail`` is METADATA, UNUSABLE, or empty."""
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
    """The helper process ended; ``detail`` is its exit code."""
    OTHER = "other"


ISSUER, NAME, EXPIRED, OTHER = "issuer", "name", "expired", "other"
METADATA, UNUSABLE = "metadata", "unusable"
"""Source of an identity: the machine's metadata, for lack of any other, and variables that the library can't use."""


@dataclass(frozen=True)
class Failure:
    """A failed request.

    Attributes:
        kind: what failed.
        status: of the HTTP answer; 0 if there was none.
        code: the provider's code, at most 64 letters or digits that read like words; empty if there was none.
        detail: a word of this project, or a name; see :class:`FailureKind`.
    """

    kind: FailureKind
    status: int = 0
    code: str = ""
    detail: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return the failure as JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Failure:
        """Return the failure of :meth:`as_record`."""
        return cls(**{**record, "kind": FailureKind(record["kind"])})


_SOURCE = "\nDebug source:\n"
"""Begin of the part in which texts of the server are quoted, so that they can't imitate the library."""

_STATUS = re.compile(r"inner: Status \{\s+status: (\d{3}),")
_DELETION = re.compile(r'\bDeleteFailed \{[^{}]*?\bcode: "(\d{3})"')
"""Status of one deletion in a batch of Azure."""
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9]{1,64})\s*</Code>")
_MOST_DIGITS = 2
"""Digits in a code, such as InvalidMd5; an identifier of a key or a signature has more, or no lowercase letter."""
_URI = re.compile(r"\buri: Some\(\s+(\S+?),\n")
_INVALID_PATH = re.compile(r'^\s*InvalidPath \{.*?\bpath: "((?:[^"\\]|\\.)*)"', re.DOTALL)
_METADATA = re.compile(r"https?://[^/]+/(?:latest/(?:api/token|meta-data/)|computeMetadata/|metadata/identity/)")
"""Requests for the identity of the machine: of EC2, of Compute Engine, and of Azure."""
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
    (r"\bCredential\b|OpenCredentials|ReadPem|InvalidAccessKey|Missing\w+|token file", FailureKind.CREDENTIALS),
)
"""Patterns over the library's structure of causes; the first that is found counts."""
_CAUSE_PATTERNS = tuple((re.compile(pattern), kind) for pattern, kind in _CAUSES)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


def failure_of(raised: str, text: str, scheme: str, endpoint: str | None) -> Failure:
    """Return the facts about an exception of the library.

    Args:
        raised: name of the exception's class.
        text: its whole text.
        scheme: of the store.
        endpoint: of the store; None: the provider's own.
    """
    source = text.rpartition(_SOURCE)[2]
    if found := _INVALID_PATH.match(source):
        return Failure(FailureKind.UNLISTABLE, detail=_unquoted(found[1]))
    uri = _URI.search(source)
    if "TokenRequest {" in source or (uri and not _is_of_store(uri[1], scheme, endpoint)):
        detail = METADATA if uri and _METADATA.match(uri[1]) else ""
        return Failure(FailureKind.CREDENTIALS, status=_status(source), code=_code(source), detail=detail)
    if "BareRedirect" in source:
        return Failure(FailureKind.ANSWER, status=301)
    if status := _status(source):
        return Failure(FailureKind.PROXY if status == 407 else FailureKind.ANSWER, status=status, code=_code(source))
    if "InvalidCertificate(" in source and "BadEncoding" not in source:
        causes = (word for mark, word in _CERTIFICATES if mark in source)
        return Failure(FailureKind.CERTIFICATE, detail=next(causes, OTHER))
    kinds = (kind for pattern, kind in _CAUSE_PATTERNS if pattern.search(source))
    return Failure(next(kinds, FailureKind.OTHER), detail=raised if raised.isidentifier() else "")


def _status(source: str) -> int:
    found = _STATUS.search(source) or _DELETION.search(source)
    return int(found[1]) if found else 0


def _code(source: str) -> str:
    found = _CODE.search(source)
    return found[1] if found and _reads_like_words(found[1]) else ""


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
