"""Token reviews by the API server, limited in number and cached by a hash of the token."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from maskrcnn_operator.cluster.rate_limit import RateLimit
from maskrcnn_operator.cluster.single_flight import SingleFlight
from maskrcnn_operator.jobs.config import TOKEN_AUDIENCE
from maskrcnn_operator.progress_endpoint.authorize import Peer, peer_of
from maskrcnn_operator.progress_endpoint.refusal import ReportRefusal

ACCEPTED_SECONDS = 300.0
REJECTED_SECONDS = 30.0
MAX_TOKEN_LENGTH = 16 * 1024
MAX_PENDING = 64
"""Most reviews that are in progress or waiting: at their share of the default rate limit, they take six seconds."""
REVIEW_SECONDS = 10.0
"""Longest time for a review in seconds, equal to the trainer's timeout of a post."""

Review = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""Function that makes a TokenReview of a token for an audience and returns its ``status``."""


T = TypeVar("T")


class TokenChecker:
    """Authentication of pods by their tokens.

    Only the SHA-256 of a token is stored. A token has at most one review at a time.

    Args:
        review: see :data:`Review`; its exceptions are passed on.
        clock: monotonic clock, in seconds.
        limit: rate limit of reviews by address, since new tokens must not overload the API server.
        max_tokens: most cached tokens, separately for accepted and rejected ones, so that rejected tokens never evict
            accepted ones.
        patience: longest time for a review in seconds.
    """

    def __init__(
        self,
        review: Review,
        clock: Callable[[], float],
        limit: RateLimit | None = None,
        max_tokens: int = 10_000,
        patience: float = REVIEW_SECONDS,
    ) -> None:
        self._review, self._clock, self._max_tokens, self._patience = review, clock, max_tokens, patience
        self._limit = limit or RateLimit(interval=0.2, burst=100, clock=clock)
        self._reviews: SingleFlight[bytes, Peer | ReportRefusal] = SingleFlight()
        self._accepted: OrderedDict[bytes, tuple[float, Peer]] = OrderedDict()
        self._rejected: OrderedDict[bytes, tuple[float, ReportRefusal]] = OrderedDict()

    async def check(self, token: str, address: str) -> Peer | ReportRefusal:
        """Return the pod to which ``token``, sent from ``address``, is bound, or a refusal."""
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            return ReportRefusal(401, "TokenRejected", "the bearer token isn't a Kubernetes service-account token")
        digest = hashlib.sha256(token.encode()).digest()
        known = _fresh(self._accepted, digest, self._clock()) or _fresh(self._rejected, digest, self._clock())
        if known is not None:
            return known
        if digest not in self._reviews:
            refusal = self._refusal(address)
            if refusal is not None:
                return refusal
        return await self._reviews.ask(digest, lambda: self._ask(token, digest))

    def _refusal(self, address: str) -> ReportRefusal | None:
        # in this order, so that a refusal because of the total number does not count against the address
        if len(self._reviews) >= MAX_PENDING:
            return _too_busy()
        wait = self._limit.wait(address)
        if wait > 0:
            return ReportRefusal(429, "TooManyTokens", "too many new tokens from this address", retry_after=wait)
        return None

    async def _ask(self, token: str, digest: bytes) -> Peer | ReportRefusal:
        try:
            async with asyncio.timeout(self._patience):
                found = peer_of(await self._review(token, TOKEN_AUDIENCE))
        except TimeoutError:
            return _too_busy()
        if isinstance(found, Peer):
            _remember(self._accepted, digest, (self._clock() + ACCEPTED_SECONDS, found), self._max_tokens)
        else:
            _remember(self._rejected, digest, (self._clock() + REJECTED_SECONDS, found), self._max_tokens)
        return found


def _too_busy() -> ReportRefusal:
    return ReportRefusal(503, "TooBusy", "too many new tokens wait for a review; retry later", retry_after=5.0)


def _fresh(kept: OrderedDict[bytes, tuple[float, T]], digest: bytes, now: float) -> T | None:
    found = kept.get(digest)
    return found[1] if found is not None and found[0] > now else None


def _remember(kept: OrderedDict[bytes, tuple[float, T]], digest: bytes, value: tuple[float, T], most: int) -> None:
    kept[digest] = value
    kept.move_to_end(digest)
    while len(kept) > most:
        kept.popitem(last=False)
