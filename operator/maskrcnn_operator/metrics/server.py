"""``/metrics`` over HTTP."""

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
"""A page is at most so old: Prometheus scrapes every 15 to 60 s."""
MOST_KEPT = 4
"""Formats that are kept: two Prometheus servers rarely use more."""


class _Joined(Collector):
    """The metrics of a registry, and the series of experiments."""

    def __init__(self, registry: CollectorRegistry, experiments: Callable[[], Snapshot | None]) -> None:
        self._registry, self._experiments = registry, experiments

    def collect(self) -> Iterator[Metric]:
        yield from self._registry.collect()
        yield from families(self._experiments())


class _Pages:
    """Texts of the metrics: one is made at a time, and kept for a moment.

    Any client may scrape, as often as the network allows. Fifty clients that did so without a pause made the event loop
    ten times slower, since their texts were made in as many threads.
    """

    def __init__(
        self, experiments: ExperimentCollector | None, registry: CollectorRegistry, clock: Callable[[], float]
    ) -> None:
        self._experiments, self._registry, self._clock = experiments, registry, clock
        self._made: dict[str, tuple[float, bytes]] = {}
        self._making = asyncio.Lock()

    async def page(self, encode: Callable[[Collector], bytes], content_type: str) -> bytes:
        """Return the text in a format."""
        async with self._making:
            made = self._made.get(content_type)
            if made is None or self._clock() - made[0] >= KEPT_SECONDS:
                snapshot = self._experiments.deferred_snapshot() if self._experiments is not None else lambda: None
                began = self._clock()
                text = await asyncio.to_thread(encode, _Joined(self._registry, snapshot))
                while len(self._made) >= MOST_KEPT:
                    # a client may name any version
                    self._made.pop(next(iter(self._made)))
                made = self._made[content_type] = began, text
            return made[1]


def metrics_app(
    experiments: ExperimentCollector | None = None,
    registry: CollectorRegistry = REGISTRY,
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """``GET /metrics``, in the text format or as OpenMetrics, whichever is asked for.

    Args:
        experiments: listed in the event loop, which owns the cache; series and text are made in a thread.
        clock: seconds that only rise.
    """

    pages = _Pages(experiments, registry, clock)

    async def metrics(request: web.Request) -> web.Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (ValueError, TypeError):  # a version that isn't one
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
    """Serve ``/metrics`` until ``cleanup`` of what is returned is awaited.

    Args:
        port: 0 for any free one; ``addresses`` of what is returned has it.
        host: address to listen at; all of them when None.
    """
    server = PlainServer(metrics_app(experiments, registry))
    await server.start(host, port)
    return server
