"""When the cluster is listed whole: at the start, every few minutes, and soon after a watch had to begin anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from maskrcnn_operator.cluster.cache import Cache, Key
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.listing import list_all

log = logging.getLogger(__name__)

SOON_SECONDS = 2.0
"""From the sign that something was missed to the list: watches are cut at about the same time."""
RETRY_LIMIT = 30.0


class Relisting:
    """Keeps the cache whole.

    Args:
        on_key: told of each experiment of which a list has found something new.
        interval: seconds between two lists.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        namespaces: Sequence[str],
        on_key: Callable[[Key], None],
        interval: float,
    ) -> None:
        self._client, self._cache, self._on_key, self._interval = client, cache, on_key, interval
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def once(self) -> None:
        """Lists everything; tries until it succeeds."""
        wait = 0.5
        async with self._one_at_a_time:
            while True:
                try:
                    for key in await list_all(self._client, self._cache, self._namespaces):
                        self._on_key(key)
                    return
                except ApiError as error:
                    log.warning("The cluster cannot be listed: %s", error, extra={"wait": wait})
                await asyncio.sleep(wait)
                wait = min(RETRY_LIMIT, wait * 2)

    def ask(self) -> None:
        """Something may have been deleted that no watch has told of: list soon."""
        self._asked.set()

    async def run(self) -> None:
        """Lists until it is cancelled; the first list is the caller's."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._asked.wait()
                await asyncio.sleep(SOON_SECONDS)
            except TimeoutError:
                pass
            self._asked.clear()
            await self.once()
