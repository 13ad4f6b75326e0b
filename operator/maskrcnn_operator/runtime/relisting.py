"""Lists of all namespaces at the start, every few minutes, and soon after a watch has missed a change.

Each namespace is listed and retried separately, so that a forbidden, deleted, or broken one does not affect the others.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, NotFound
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.listing import forget_namespace, list_namespace
from maskrcnn_operator.cluster.resources import NAMESPACES, Resource
from maskrcnn_operator.metrics import process as metrics
from maskrcnn_operator.runtime.supervision import run_together

log = logging.getLogger(__name__)

SOON_SECONDS = 2.0
"""Seconds from the request for a list to the list: several watches are often interrupted at about the same time."""
FIRST_RETRY = 0.5
RETRY_LIMIT = 30.0
AT_A_TIME = 2
"""Namespaces that are listed concurrently; a page of each is in memory."""
ALL_NAMESPACES = "*"
"""Name of the whole cluster, if all namespaces are watched."""


class WentBack(Exception):
    """Error: the API server has an older state than before, for example after a restore of its data from a backup.

    The versions in the cache may be larger than those that the API server will return for hours, so the cache would
    ignore them as older. A new process starts with an empty cache.
    """


class _Place:
    """Namespace (None: all) and the state of its lists.

    Attributes:
        problem: status and reason of the last list if it failed; None while lists succeed.
        wait: seconds before the next try after a failure.
        fully_listed: when all objects were last read, by ``time.monotonic()``; None for never.
        begun, ended: number of the newest list that was started, and of the newest that succeeded.
        versions: version of the newest successful list of each kind.
        may_be_looked_at: the namespace object can be read; false after a 403, until ``problem`` changes.
        changed: keys of experiments that lists have changed, reported after the next successful list.
    """

    def __init__(self, namespace: str | None) -> None:
        self.namespace = namespace
        self.problem: tuple[int, str] | None = None
        self.wait = FIRST_RETRY
        self.fully_listed: float | None = None
        self.begun = self.ended = 0
        self.may_be_looked_at = True
        self.versions: Mapping[Resource, int] = {}
        self.changed: set[Key] = set()
        self.asked = asyncio.Event()
        self.turn = asyncio.Lock()
        self.news = asyncio.Condition()

    @property
    def name(self) -> str:
        return self.namespace or ALL_NAMESPACES


class Relisting:
    """Periodic lists that keep the cache complete.

    Args:
        on_key: called with the key of each experiment in which a list has found a change.
        interval: seconds between two lists of a namespace, which compare versions and read changed objects.
        full_interval: seconds between two lists that read all objects.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        namespaces: Sequence[str],
        on_key: Callable[[Key], None],
        interval: float,
        *,
        full_interval: float = 3600.0,
    ) -> None:
        self._client, self._cache, self._on_key = client, cache, on_key
        self._interval, self._full_interval = interval, full_interval
        names: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._places = {name: _Place(name) for name in names}
        self._at_a_time = asyncio.Semaphore(AT_A_TIME)

    async def once(self) -> None:
        """List all namespaces; return when each has been tried and at least one has been listed.

        Raises:
            WentBack: the API server has an older state than before.
        """
        wait = FIRST_RETRY
        while not any(await asyncio.gather(*(self._list(place) for place in self._places.values()))):
            await asyncio.sleep(wait)
            wait = min(RETRY_LIMIT, wait * 2)
        self._cache.mark_listed()

    def ask(self) -> None:
        """Request a list soon, since a watch may have missed a deletion."""
        for place in self._places.values():
            place.asked.set()

    async def versions(self, namespace: str | None, *, fresh: bool = False) -> Mapping[Resource, int]:
        """Return the versions of a namespace's newest lists, waiting for a list.

        Args:
            namespace: one of the namespaces; None if all are watched.
            fresh: request a list, and wait for one that starts after this call.
        """
        place = self._places[namespace]
        least = place.begun + 1 if fresh else 1
        if fresh:
            place.asked.set()
        async with place.news:
            await place.news.wait_for(lambda: place.ended >= least)
        return place.versions

    async def run(self) -> None:
        """List periodically until canceled; the caller makes the first list by :meth:`once`.

        Raises:
            EndedEarly: the lists of a namespace have ended, by WentBack if the API server was restored from a backup.
        """
        try:
            await run_together({f"relisting {place.name}": self._keep(place) for place in self._places.values()})
        finally:
            for place in self._places.values():
                metrics.forget_namespace(place.name)

    async def _keep(self, place: _Place) -> None:
        while True:
            if place.problem is not None:
                await asyncio.sleep(place.wait)
            else:
                await self._asked_or_due(place)
            place.asked.clear()
            await self._list(place)

    async def _asked_or_due(self, place: _Place) -> None:
        try:
            # a random interval, so that the namespaces are not all listed at the same moment
            async with asyncio.timeout(self._interval * random.uniform(0.8, 1.0)):  # noqa: S311 - nothing secret
                await place.asked.wait()
        except TimeoutError:
            return
        await asyncio.sleep(SOON_SECONDS)

    async def _list(self, place: _Place) -> bool:
        """List a namespace once; return whether it could be listed."""
        async with place.turn, self._at_a_time:
            place.begun += 1
            number, compare = place.begun, self._compares(place)
            try:
                versions = await list_namespace(
                    self._client, self._cache, place.namespace, place.changed, compare=compare
                )
            except ApiError as error:
                await self._failed(place, error)
                return False
            except Exception as error:
                # an unexpected error in one namespace must not stop the lists of the others
                log.exception("%s cannot be listed because of an unexpected error", _described(place))
                await self._failed(place, ApiError(0, type(error).__name__, str(error)))
                return False
            self._require_progress(place, versions)
            if not compare:
                place.fully_listed = time.monotonic()
            place.ended, place.versions = number, versions
            self._succeeded(place)
        async with place.news:
            place.news.notify_all()
        return True

    def _require_progress(self, place: _Place, versions: Mapping[Resource, int]) -> None:
        for resource, version in versions.items():
            before = place.versions.get(resource, 0)
            if 0 < version < before:
                raise WentBack(
                    f"{_described(place)}: the list of {resource.plural} has version {version}, older than {before} "
                    "before: the API server was probably restored from a backup"
                )

    def _compares(self, place: _Place) -> bool:
        return place.fully_listed is not None and time.monotonic() - place.fully_listed < self._full_interval

    def _succeeded(self, place: _Place) -> None:
        if place.problem is not None:
            log.info("%s can be listed again", _described(place))
        place.problem = None
        self._cache.mark_namespace_listed()
        metrics.namespace_listed(place.name, True)
        while place.changed:
            self._on_key(place.changed.pop())

    async def _failed(self, place: _Place, error: ApiError) -> None:
        known, place.problem = place.problem, (error.status, error.reason)
        place.wait = FIRST_RETRY if known is None else min(RETRY_LIMIT, place.wait * 2)
        metrics.namespace_listed(place.name, False)
        if place.problem != known:
            log.warning("%s cannot be listed, retrying: %s", _described(place), error, extra={"reason": error.reason})
            place.may_be_looked_at = True
        if place.namespace is not None and error.status in (403, 404) and await self._is_gone(place, place.namespace):
            for key in forget_namespace(self._cache, place.namespace):
                self._on_key(key)

    async def _is_gone(self, place: _Place, namespace: str) -> bool:
        """Return whether the namespace does not exist; a failed list alone does not prove that."""
        if not place.may_be_looked_at:
            return False
        try:
            await self._client.get(NAMESPACES, None, namespace)
        except NotFound:
            return True
        except ApiError as error:
            place.may_be_looked_at = error.status != 403
        return False


def _described(place: _Place) -> str:
    return f"The namespace {place.namespace}" if place.namespace is not None else "The cluster"
