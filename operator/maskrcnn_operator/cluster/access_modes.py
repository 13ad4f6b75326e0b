"""Cached access modes of claims, which determine whether several nodes can mount a claim.

A claim that cannot be read has unknown access modes: its experiment starts no more steps, running steps continue, and
no other experiment is affected.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.cache import OnUnreadable
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, TooManyRequests
from maskrcnn_operator.cluster.resources import CLAIMS
from maskrcnn_operator.cluster.single_flight import SingleFlight

log = logging.getLogger(__name__)

SHARED_MODE = "ReadWriteMany"
KNOWN_SECONDS = 300.0
"""Seconds for which the modes of a claim are cached: they never change, but another claim may replace it."""
MISSING_SECONDS = 30.0
"""The same for a claim that is missing or cannot be read. It equals the time after which an experiment looks again, so
that many experiments on one missing claim make as many calls as one."""
FAILED_READ_SECONDS = 10.0
"""The same for a read that failed, which may pass at any time; an experiment looks again after it, too."""
_KEPT = 10_000


class AccessModes:
    """Cache of the access modes of claims.

    Args:
        clock: monotonic clock, in seconds.
        on_unreadable: called at each read of a claim that cannot be read.
    """

    def __init__(
        self,
        client: Client,
        clock: Callable[[], float] = time.monotonic,
        *,
        on_unreadable: OnUnreadable = lambda *_: None,
    ) -> None:
        self._client, self._clock, self._on_unreadable = client, clock, on_unreadable
        self._known: OrderedDict[tuple[str, str], tuple[float, bool | None]] = OrderedDict()
        """By namespace and name: when the entry expires, and the result of :meth:`shared`."""
        self._failed: set[tuple[str, str]] = set()
        self._reads: SingleFlight[tuple[str, str], bool | None] = SingleFlight()

    async def shared(self, namespace: str, claim: str) -> bool | None:
        """Return whether a claim is ReadWriteMany; None if it does not exist or cannot be read.

        Raises:
            TooManyRequests: the API server accepts no calls now.
        """
        key = namespace, claim
        known = self._known.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1]
        return await self._reads.ask(key, lambda: self._read(namespace, claim))

    def has_failed(self, namespace: str, claim: str) -> bool:
        """Return whether the last read of a claim failed, other than by a refusal, so that another may succeed."""
        return (namespace, claim) in self._failed

    async def _read(self, namespace: str, claim: str) -> bool | None:
        self._failed.discard((namespace, claim))
        shared = await self._shared_now(namespace, claim)
        self._known.pop((namespace, claim), None)
        unknown = FAILED_READ_SECONDS if self.has_failed(namespace, claim) else MISSING_SECONDS
        self._known[namespace, claim] = (self._clock() + (unknown if shared is None else KNOWN_SECONDS), shared)
        while len(self._known) > _KEPT:
            self._failed.discard(self._known.popitem(last=False)[0])
        return shared

    async def _shared_now(self, namespace: str, claim: str) -> bool | None:
        try:
            found = await self._client.get(CLAIMS, namespace, claim)
        except TooManyRequests:
            # the next try follows as soon as the API server accepts calls
            raise
        except ApiError as error:
            if error.reason == UNDECODABLE:
                self._on_unreadable(CLAIMS, namespace, claim, error)
            elif error.status not in (403, 404):
                self._failed.add((namespace, claim))
                log.warning("Could not read the claim %s/%s; its steps wait: %s", namespace, claim, error)
            return None
        try:
            return SHARED_MODE in _access_modes(found)
        except ValueError as error:
            self._on_unreadable(CLAIMS, namespace, claim, error)
            return None


def _access_modes(claim: Mapping[str, object]) -> list[str]:
    """Return ``spec.accessModes``.

    Raises:
        ValueError: it is missing, or isn't a list of access modes.
    """
    spec = claim.get("spec")
    if not isinstance(spec, Mapping):
        raise ValueError("spec isn't an object")
    modes = spec.get("accessModes")
    if not isinstance(modes, list) or not all(isinstance(mode, str) for mode in modes):
        raise ValueError("spec.accessModes isn't a list of strings")
    return modes
