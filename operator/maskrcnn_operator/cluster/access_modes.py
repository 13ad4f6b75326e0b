"""Whether several nodes can mount a workspace: the access modes of its claim, asked for seldom."""

from __future__ import annotations

import time
from collections import OrderedDict

from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, NotFound
from maskrcnn_operator.cluster.resources import CLAIMS

SHARED_MODE = "ReadWriteMany"
KNOWN_SECONDS = 300.0
"""How long an answer holds: the modes of a claim never change, but another one may come in its place."""
_KEPT = 10_000


class AccessModes:
    """What is known of claims."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: OrderedDict[tuple[str, str], tuple[float, bool]] = OrderedDict()

    async def shared(self, namespace: str, claim: str) -> bool | None:
        """Whether a claim is ReadWriteMany; None where there is none or we may not read it.

        Raises:
            ApiError: the API server could not answer.
        """
        key, now = (namespace, claim), time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < KNOWN_SECONDS:
            return known[1]
        try:
            found = await self._client.get(CLAIMS, namespace, claim)
        except NotFound:
            return None
        except ApiError as error:
            if error.status == 403:
                return None
            raise
        shared = SHARED_MODE in ((found.get("spec") or {}).get("accessModes") or ())
        self._known[key] = (now, shared)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return shared
