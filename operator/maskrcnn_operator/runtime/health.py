"""``/healthz`` and ``/readyz``: whether the process is worth keeping, and whether it knows the cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

LAG_INTERVAL = 1.0
MAX_LAG = 10.0
"""Seconds that the event loop may be late before the process counts as stuck."""


class Health:
    """What the probes are told.

    Args:
        last_listed: when the cluster was last listed whole, by ``time.monotonic()``; None before the first time.
        max_age: seconds that this may be ago.
    """

    def __init__(self, last_listed: Callable[[], float | None], max_age: float) -> None:
        self._last_listed, self._max_age = last_listed, max_age
        self._began = self._beat = time.monotonic()
        self._lag = 0.0

    async def run(self) -> None:
        """Measures how late the event loop is, until it is cancelled."""
        while True:
            await asyncio.sleep(LAG_INTERVAL)
            now = time.monotonic()
            self._lag, self._beat = max(0.0, now - self._beat - LAG_INTERVAL), now

    def problems(self) -> list[str]:
        """What is wrong with this process; nothing where all is well."""
        now = time.monotonic()
        lag = max(self._lag, now - self._beat - LAG_INTERVAL)
        age = now - (self._last_listed() or self._began)
        found = [f"the event loop is {lag:.0f} s late"] if lag > MAX_LAG else []
        return found + ([f"the cluster was last listed {age:.0f} s ago"] if age > self._max_age else [])

    @property
    def ready(self) -> bool:
        """Whether the cluster has been listed."""
        return self._last_listed() is not None

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


async def serve(health: Health, port: int, host: str | None = None) -> web.AppRunner:
    """Serves the probes until ``cleanup`` of what is returned is awaited; port 0 for any free one."""
    runner = web.AppRunner(health.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
