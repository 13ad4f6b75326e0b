"""HTTP server of ``/metrics``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from maskrcnn_operator.metrics.experiments import ExperimentCollector, Snapshot, families
from maskrcnn_operator.metrics.plain_http import PlainServer
from maskrcnn_operator.metrics.process import REGISTRY

KEPT_SECONDS = 1.0
"""Maximum age of a cached page; Prometheus scrapes every 15 to 60 s."""
MOST_KEPT = 4
"""Maximum number of cached formats; two Prometheus servers rarely use more."""


class _Joined(Collector):
    """Metrics of a registry, followed by the series of experiments."""

    def __init__(self, registry: CollectorRegistry, experiments: Callable[[], Snapshot | None]) -> None:
        self._registry, self._experiments = registry, experiments

    def collect(self) -> Iterator[Metric]:
        yield from self._registry.collect()
        yield from families(self._experiments())


class _Pages:
    """Cache of the pages in each format; one page is rendered at a time.

    Any client may scrape, as often as the network allows. Without the cache, 50 clients that scraped without a pause
    made the event loop ten times slower, since their pages were rendered in as many threads.
    """

    def __init__(
        self, experiments: ExperimentCollector | None, registry: CollectorRegistry, clock: Callable[[], float]
    ) -> None:
        self._experiments, self._registry, self._clock = experiments, registry, clock
        self._made: dict[str, tuple[float, bytes]] = {}
        self._making = asyncio.Lock()

    async def page(self, encode: Callable[[Collector], bytes], content_type: str) -> bytes:
        """Return the page in a format."""
        async with self._making:
            made = self._made.get(content_type)
            if made is None or self._clock() - made[0] >= KEPT_SECONDS:
                snapshot = self._experiments.deferred_snapshot() if self._experiments is not None else lambda: None
                began = self._clock()
                text = await asyncio.to_thread(encode, _Joined(self._registry, snapshot))
                while len(self._made) >= MOST_KEPT:
                    # the content type has a version, which clients may choose
                    self._made.pop(next(iter(self._made)))
                made = self._made[content_type] = began, text
            return made[1]


def metrics_app(
    experiments: ExperimentCollector | None = None,
    registry: CollectorRegistry = REGISTRY,
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """Return the application that serves ``GET /metrics`` in the text format or as OpenMetrics, as requested.

    Args:
        experiments: series of experiments, or None for none. They are listed in the event loop, which owns the cache;
            the page is rendered in a thread.
        registry: metrics of the process.
        clock: monotonic time in seconds.
    """
    pages = _Pages(experiments, registry, clock)

    async def metrics(request: web.Request) -> web.Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (ValueError, TypeError):  # an invalid version in Accept
            encode, content_type = choose_encoder("")
        return web.Response(body=await pages.page(encode, content_type), headers={"Content-Type": content_type})

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    return application


async def serve(
    port: int,
    experiments: ExperimentCollector | None = None,
    *,
    host: str | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> PlainServer:
    """Serve ``/metrics`` until ``cleanup`` of the returned server is awaited.

    Args:
        port: to listen on; 0 for any free one, which ``addresses`` of the server has.
        experiments: series of experiments, or None for none.
        host: address to listen on, or None for all.
        registry: metrics of the process.

    Raises:
        OSError: the address isn't one of this machine's, or it is in use.
    """
    server = PlainServer(metrics_app(experiments, registry))
    await server.start(host, port)
    return server
