"""``/healthz`` and ``/readyz``: whether the process works, and whether it has listed the cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from aiohttp import web

from maskrcnn_operator.metrics.plain_http import PlainServer

LAG_INTERVAL = 1.0
MAX_LAG = 10.0
"""Seconds that the event loop may be late before the process counts as stuck."""


class Health:
    """Answers of the probes.

    Liveness is about this process alone: how late the event loop is, and whether every task still runs. It leaves the
    API server out, since a restart doesn't bring that back. Readiness is whether the cluster has been listed.

    Args:
        listed: whether the cluster has been listed.
        ended: returns a sentence for each task that has ended too early.
    """

    def __init__(self, listed: Callable[[], bool], ended: Callable[[], Sequence[str]]) -> None:
        self._listed, self._ended = listed, ended
        self._beat = time.monotonic()
        self._lag = 0.0

    async def run(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        while True:
            await asyncio.sleep(LAG_INTERVAL)
            now = time.monotonic()
            self._lag, self._beat = max(0.0, now - self._beat - LAG_INTERVAL), now

    def problems(self) -> list[str]:
        """Return what is wrong with this process; nothing if all is well."""
        lag = max(self._lag, time.monotonic() - self._beat - LAG_INTERVAL)
        found = [f"the event loop is {lag:.0f} s late"] if lag > MAX_LAG else []
        return [*found, *self._ended()]

    @property
    def ready(self) -> bool:
        """Whether the cluster has been listed."""
        return self._listed()

    def application(self) -> web.Application:
        """The probes over HTTP: 200, or 503 with what is wrong."""

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
    """Serve the probes until ``cleanup`` of what is returned is awaited; port 0 for any free one."""
    server = PlainServer(health.application())
    await server.start(host, port)
    return server
