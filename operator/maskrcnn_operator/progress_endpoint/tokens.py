"""Reviews of tokens by the API server, few at a time, remembered for a while by a hash of the token."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from maskrcnn_operator.cluster.rate_limit import RateLimit
from maskrcnn_operator.cluster.single_flight import SingleFlight
from maskrcnn_operator.jobs.config import TOKEN_AUDIENCE
from maskrcnn_operator.progress_endpoint.authorise import Peer, peer_of
from maskrcnn_operator.progress_endpoint.refusal import ReportRefusal

ACCEPTED_SECONDS = 300.0
REJECTED_SECONDS = 30.0
MAX_TOKEN_LENGTH = 16 * 1024
MAX_PENDING = 64
"""Reviews under way or waiting for their turn: at their share of the default limit, six seconds' worth."""
REVIEW_SECONDS = 10.0
"""Seconds that a review may take in all: a trainer gives up a post after so long."""

Review = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""A TokenReview of a token for an audience; returns its ``status``."""


T = TypeVar("T")


class TokenChecker:
    """Proves pods. The token itself is never kept, only its SHA-256; a token is under review once at a time.

    Args:
        review: see :data:`Review`; what it raises goes through.
        clock: seconds that only rise.
        limit: of reviews, by address: tokens that are seen for the first time must not keep the API server busy.
        max_tokens: tokens remembered of each kind, so that rejected ones never push accepted ones out.
        patience: seconds that a review may take.
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
        """Return the pod that ``token``, sent from ``address``, was made for."""
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            return ReportRefusal(401, "TokenRejected", "the bearer token is none of a Kubernetes API server's")
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
        # in this order: what is refused for the sake of others does not count against the address
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
    return ReportRefusal(503, "TooBusy", "too many new tokens wait for their review; try again later", retry_after=5.0)


def _fresh(kept: OrderedDict[bytes, tuple[float, T]], digest: bytes, now: float) -> T | None:
    found = kept.get(digest)
    return found[1] if found is not None and found[0] > now else None


def _remember(kept: OrderedDict[bytes, tuple[float, T]], digest: bytes, value: tuple[float, T], most: int) -> None:
    kept[digest] = value
    kept.move_to_end(digest)
    while len(kept) > most:
        kept.popitem(last=False)
