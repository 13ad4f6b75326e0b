"""Probes ``/healthz`` (the process works) and ``/readyz`` (the process has listed the cluster)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from aiohttp import web

from maskrcnn_operator.metrics.plain_http import PlainServer

LAG_INTERVAL = 1.0
MAX_LAG = 10.0
"""Seconds of event loop lag above which the process counts as stuck."""


class Health:
    """Results of the probes.

    Liveness depends only on this process: on the lag of the event loop, and on tasks that have ended. It does not
    depend on the API server, since a restart would not fix that. Readiness means that the cluster has been listed.

    Args:
        listed: returns whether the cluster has been listed.
        ended: returns a sentence for each task that has ended too early.
    """

    def __init__(self, listed: Callable[[], bool], ended: Callable[[], Sequence[str]]) -> None:
        self._listed, self._ended = listed, ended
        self._beat = time.monotonic()
        self._lag = 0.0

    async def run(self) -> None:
        """Measure the lag of the event loop until canceled."""
        while True:
            await asyncio.sleep(LAG_INTERVAL)
            now = time.monotonic()
            self._lag, self._beat = max(0.0, now - self._beat - LAG_INTERVAL), now

    def problems(self) -> list[str]:
        """Return the problems of this process, empty if it is healthy."""
        lag = max(self._lag, time.monotonic() - self._beat - LAG_INTERVAL)
        found = [f"the event loop is {lag:.0f} s late"] if lag > MAX_LAG else []
        return [*found, *self._ended()]

    @property
    def ready(self) -> bool:
        """True if the cluster has been listed."""
        return self._listed()

    def application(self) -> web.Application:
        """Return the HTTP application of the probes, which respond 200, or 503 with the problem."""

        async def healthz(_: web.Request) -> web.Response:
            found = self.problems()
            return web.Response(text="; ".join(found) or "ok", status=503 if found else 200)

        async def readyz(_: web.Request) -> web.Response:
            return web.Response(text="ok" if self.ready else "not listed yet", status=200 if self.ready else 503)

        application = web.Application()
        application.router.add_get("/healthz", healthz)
        application.router.add_get("/readyz", readyz)
        return application


async def serve(health: Health, port: int, host: str | None = None) -> PlainServer:
    """Serve the probes until ``cleanup`` of the returned server is awaited; port 0 is any free port."""
    server = PlainServer(health.application())
    await server.start(host, port)
    return server
