"""Cached access modes of claims, which determine whether several nodes can mount a claim.

A claim that cannot be read has unknown access modes: its experiment starts no more steps, running steps continue, and
no other experiment is affected.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from maskrcnn_operator.cluster.cache import OnUnreadable
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.optional_reads import OptionalRead, read_optional
from maskrcnn_operator.cluster.resources import CLAIMS
from maskrcnn_operator.cluster.single_flight import SingleFlight

SHARED_MODE = "ReadWriteMany"
KNOWN_SECONDS = 300.0
"""Seconds for which the modes of a claim are cached: they never change, but another claim may replace it."""
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
        self._known: OrderedDict[tuple[str, str], tuple[float, OptionalRead[bool]]] = OrderedDict()
        """By namespace and name: when the entry expires, and the result of the read."""
        self._reads: SingleFlight[tuple[str, str], bool | None] = SingleFlight()

    async def shared(self, namespace: str, claim: str) -> bool | None:
        """Return whether a claim is ReadWriteMany; None if it does not exist or cannot be read.

        Raises:
            TooManyRequests: the API server accepts no calls now.
        """
        key = namespace, claim
        known = self._known.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1].value
        return await self._reads.ask(key, lambda: self._read(namespace, claim))

    def has_failed(self, namespace: str, claim: str) -> bool:
        """Return whether the last read of a claim failed, other than by a refusal, so that another may succeed."""
        known = self._known.get((namespace, claim))
        return known is not None and known[1].has_failed

    async def _read(self, namespace: str, claim: str) -> bool | None:
        read = await read_optional(
            self._client, CLAIMS, namespace, claim, _is_shared, on_unreadable=self._on_unreadable
        )
        self._known.pop((namespace, claim), None)
        holds = read.unknown_seconds if read.value is None else KNOWN_SECONDS
        self._known[namespace, claim] = (self._clock() + holds, read)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return read.value


def _is_shared(claim: Mapping[str, object]) -> bool:
    """Return whether several nodes can mount a claim.

    Raises:
        ValueError: it has no access modes.
    """
    return SHARED_MODE in _access_modes(claim)


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
