"""Errors of API calls, and their classification by what the caller should do."""

from __future__ import annotations

import re


class ApiError(Exception):
    """Failed API call: an HTTP status of 400 or above, an unexpected body, or no response.

    Attributes:
        status: HTTP status; 0 if the connection failed or timed out, so that the outcome of the call is unknown.
        reason: reason of the Status object in the response, such as AlreadyExists; ``Error`` if it has none.
        retry_after: seconds after which the server requests a retry; None if it requests none.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409: the object exists already, or has changed since the version that the write was based on."""


class Gone(ApiError):
    """410: the API server no longer has the requested version or page."""


class TooManyRequests(ApiError):
    """429: make no call for :attr:`retry_after` seconds."""


class StatusRefused(ApiError):
    """The content of a status was rejected: the same write will be rejected again."""


_BY_STATUS: dict[int, type[ApiError]] = {404: NotFound, 409: Conflict, 410: Gone, 429: TooManyRequests}


def api_error(status: int, reason: str, message: str, retry_after: float | None = None) -> ApiError:
    """Return the error of an HTTP status."""
    return _BY_STATUS.get(status, ApiError)(status, reason, message, retry_after)


_DENIED = re.compile(r'(?:[^:]*\bforbidden: )?User "[^"]*" cannot \w+ (?:resource|path) "')
"""Message of all authorizers of Kubernetes; that of an admission plugin starts with its own or the object's name."""
_ROLE_MISSING = re.compile(r'\bRBAC: (?:cluster)?role\S* "[^"]*" not found')
_TOO_LARGE = ("request is too large", "larger than max")
_REFUSED_WITH_500 = (*_TOO_LARGE, "failed to create typed patch object")
"""Parts of the messages with which an API server of 1.36 responds 500 to objects that it will never accept: two from
etcd for a write that is too large, one from server-side apply for a field that the served definition lacks or has with
another type."""


def is_denied_to_this_account(error: ApiError) -> bool:
    """Return whether the account lacks the permission for such a call, independently of the object.

    An administrator may grant the role soon, and a role reaches the API server some time after its start.
    """
    if error.status == 401:
        return True
    return error.status == 403 and bool(_DENIED.match(error.message) or _ROLE_MISSING.search(error.message))


def is_refused_by_a_policy(error: ApiError) -> bool:
    """Return whether a quota, an admission policy, or a webhook rejects the object."""
    return error.status == 403 and not is_denied_to_this_account(error)


def is_refused_for_its_content(error: ApiError) -> bool:
    """Return whether the same object will be rejected again: it is invalid, too large, or of another definition."""
    if error.status == 500:
        return any(words in error.message for words in _REFUSED_WITH_500)
    return error.status in (400, 413, 422)


def is_refused_for_its_size(error: ApiError) -> bool:
    """Return whether the object is too large for the API server or for etcd."""
    return error.status == 413 or (error.status == 500 and any(words in error.message for words in _TOO_LARGE))


def says_that_the_name_is_taken(error: ApiError) -> bool:
    """Return whether an object of that name exists. Any other 409 is a race, such as for a quota: a retry may win."""
    return error.status == 409 and error.reason == "AlreadyExists"
