"""Access modes of a workspace's claim, read seldom: they say whether several nodes can mount it.

A claim that cannot be read counts as one of unknown access modes: its experiment starts nothing more, what runs
continues, and no other experiment is affected.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.cache import OnUnreadable
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, NotFound
from maskrcnn_operator.cluster.resources import CLAIMS
from maskrcnn_operator.cluster.single_flight import SingleFlight

SHARED_MODE = "ReadWriteMany"
KNOWN_SECONDS = 300.0
"""How long an answer holds: the modes of a claim never change, but another one may come in its place."""
MISSING_SECONDS = 30.0
"""Seconds for which it holds that a claim is missing or cannot be read: as long as an experiment waits before it looks
again, so that many experiments on one missing claim cost as many calls as one."""
_KEPT = 10_000


class AccessModes:
    """Known access modes of claims.

    Args:
        clock: seconds that only rise.
        on_unreadable: called for each claim that cannot be read, whenever it is read.
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
        """By namespace and name: until when it holds, and what :meth:`shared` returns."""
        self._reads: SingleFlight[tuple[str, str], bool | None] = SingleFlight()

    async def shared(self, namespace: str, claim: str) -> bool | None:
        """Return whether a claim is ReadWriteMany; None where there is none or it cannot be read.

        Raises:
            ApiError: the API server could not answer.
        """
        key = namespace, claim
        known = self._known.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1]
        return await self._reads.ask(key, lambda: self._read(namespace, claim))

    async def _read(self, namespace: str, claim: str) -> bool | None:
        shared = await self._shared_now(namespace, claim)
        self._known.pop((namespace, claim), None)
        holds = MISSING_SECONDS if shared is None else KNOWN_SECONDS
        self._known[namespace, claim] = (self._clock() + holds, shared)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return shared

    async def _shared_now(self, namespace: str, claim: str) -> bool | None:
        try:
            found = await self._client.get(CLAIMS, namespace, claim)
        except NotFound:
            return None
        except ApiError as error:
            if error.status == 403:
                return None
            if error.reason == UNDECODABLE:
                self._on_unreadable(CLAIMS, namespace, claim, error)
                return None
            raise
        try:
            return SHARED_MODE in _access_modes(found)
        except ValueError as error:
            self._on_unreadable(CLAIMS, namespace, claim, error)
            return None


def _access_modes(claim: Mapping[str, object]) -> list[str]:
    """Return ``spec.accessModes``.

    Raises:
        ValueError: it isn't there, or isn't a list of access modes.
    """
    spec = claim.get("spec")
    if not isinstance(spec, Mapping):
        raise ValueError("spec isn't an object")
    modes = spec.get("accessModes")
    if not isinstance(modes, list) or not all(isinstance(mode, str) for mode in modes):
        raise ValueError("spec.accessModes isn't a list of texts")
    return modes
