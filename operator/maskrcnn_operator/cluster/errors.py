"""Answers of the API server other than the one that was asked for, and what may be done about each."""

from __future__ import annotations

import re


class ApiError(Exception):
    """An answer of 400 and above, a body that is not what was asked for, or no answer at all.

    Attributes:
        status: HTTP status; 0 where the connection failed or timed out, so that what became of the call is unknown.
        reason: word of the answer's Status object, such as AlreadyExists; the HTTP phrase where it has none.
        retry_after: seconds that the server asks to wait; None where it does not.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409: the object exists, or has changed since the version that the write was based on."""


class Gone(ApiError):
    """410: the version or the page that was asked for is no longer kept."""


class TooManyRequests(ApiError):
    """429; :attr:`retry_after` says for how long to hold back."""


class StatusRefused(ApiError):
    """The content of a status was refused: the same write will be refused again."""


_BY_STATUS: dict[int, type[ApiError]] = {404: NotFound, 409: Conflict, 410: Gone, 429: TooManyRequests}


def api_error(status: int, reason: str, message: str, retry_after: float | None = None) -> ApiError:
    """The error of an HTTP status."""
    return _BY_STATUS.get(status, ApiError)(status, reason, message, retry_after)


_DENIED = re.compile(r'(?:[^:]*\bforbidden: )?User "[^"]*" cannot \w+ (?:resource|path) "')
"""The text of every authorizer of Kubernetes; an admission plugin's comes after its own name or the object's."""
_ROLE_MISSING = re.compile(r'\bRBAC: (?:cluster)?role\S* "[^"]*" not found')
_TOO_LARGE = ("request is too large", "larger than max")
_REFUSED_WITH_500 = (*_TOO_LARGE, "failed to create typed patch object")
"""Texts with which an API server of 1.36 answers 500 to what it will never take: two of etcd for a write beyond its
bounds, one of the apply for what the served definition has no field or another type for."""


def is_denied_to_this_account(error: ApiError) -> bool:
    """Return whether the account may not make such a call at all, whatever it asks for.

    Roles are granted by an admin and reach the API server after its start, so the same call may be allowed soon.
    """
    if error.status == 401:
        return True
    return error.status == 403 and bool(_DENIED.match(error.message) or _ROLE_MISSING.search(error.message))


def is_refused_by_a_policy(error: ApiError) -> bool:
    """Return whether a quota, an admission policy or a webhook refuses the object."""
    return error.status == 403 and not is_denied_to_this_account(error)


def is_refused_for_its_content(error: ApiError) -> bool:
    """Return whether the same object will be refused again: invalid, too large, or of another definition."""
    if error.status == 500:
        return any(words in error.message for words in _REFUSED_WITH_500)
    return error.status in (400, 413, 422)


def is_refused_for_its_size(error: ApiError) -> bool:
    """Return whether the object is too large for the API server or for etcd."""
    return error.status == 413 or (error.status == 500 and any(words in error.message for words in _TOO_LARGE))


def says_that_the_name_is_taken(error: ApiError) -> bool:
    """Return whether an object of that name exists; another 409 is a race, as for a quota, that the next may win."""
    return error.status == 409 and error.reason == "AlreadyExists"
