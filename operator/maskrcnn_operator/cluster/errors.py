"""What the API server answers when it does not do what was asked."""

from __future__ import annotations


class ApiError(Exception):
    """An answer of 400 and above, a body that is not what was asked for, or no answer at all.

    Attributes:
        status: HTTP status; 0 where the connection failed or timed out, so that nobody knows what became of the call.
        reason: word of the answer's Status object, such as AlreadyExists; the HTTP phrase where it has none.
        retry_after: seconds that the server asks to wait; None where it does not.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after


class NotFound(ApiError):  # noqa: N818 - the word of the HTTP status
    """404."""


class Conflict(ApiError):  # noqa: N818 - the word of the HTTP status
    """409: the object exists, or has changed since the version that the write was based on."""


class Gone(ApiError):  # noqa: N818 - the word of the HTTP status
    """410: the version or the page that was asked for is no longer kept."""


class TooManyRequests(ApiError):  # noqa: N818 - the word of the HTTP status
    """429; :attr:`retry_after` says for how long to hold back."""


_BY_STATUS: dict[int, type[ApiError]] = {404: NotFound, 409: Conflict, 410: Gone, 429: TooManyRequests}


def api_error(status: int, reason: str, message: str, retry_after: float | None = None) -> ApiError:
    """The error of an HTTP status."""
    return _BY_STATUS.get(status, ApiError)(status, reason, message, retry_after)
