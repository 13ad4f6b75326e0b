"""``/metrics`` over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from maskrcnn_operator.metrics.experiments import ExperimentCollector, Snapshot, families
from maskrcnn_operator.metrics.process import REGISTRY


class _Joined(Collector):
    """The metrics of a registry, and the series of experiments."""

    def __init__(self, registry: CollectorRegistry, experiments: Callable[[], Snapshot | None]) -> None:
        self._registry, self._experiments = registry, experiments

    def collect(self) -> Iterator[Metric]:
        yield from self._registry.collect()
        yield from families(self._experiments())


def metrics_app(
    experiments: ExperimentCollector | None = None, registry: CollectorRegistry = REGISTRY
) -> web.Application:
    """``GET /metrics``, in the text format or as OpenMetrics, whichever is asked for.

    Args:
        experiments: listed in the event loop, which owns the cache; series and text are made in a thread.
    """

    async def metrics(request: web.Request) -> web.Response:
        snapshot = experiments.deferred_snapshot() if experiments is not None else lambda: None
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        text = await asyncio.to_thread(encode, _Joined(registry, snapshot))
        return web.Response(body=text, headers={"Content-Type": content_type})

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    return application


async def serve(
    port: int,
    experiments: ExperimentCollector | None = None,
    *,
    host: str | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> web.AppRunner:
    """Serves ``/metrics`` until ``cleanup`` of what is returned is awaited.

    Args:
        port: 0 for any free one; ``runner.addresses`` tells which.
        host: address to listen at; all of them when None.
    """
    runner = web.AppRunner(metrics_app(experiments, registry), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
