"""Watches, made with kopf's watch stream: each kind in each namespace is watched and restarted separately.

A watch starts from the version of a list and continues from the last version after an interruption. If that isn't
possible, because the API server no longer has the version or an event cannot be decoded, the namespace is listed again
and the watch starts from the new version.

kopf's own list is not used: it would read all objects a second time, in pages of a fixed number of objects, and fail
completely if one object cannot be decoded. kopf is pinned to one version, since its watch stream isn't public.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import aiohttp
import kopf
from kopf._cogs.clients import auth, errors, watching
from kopf._cogs.structs import credentials, references
from kubernetes.aio.client import Configuration

from maskrcnn_operator.cluster.cache import WATCHED
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.paging import version_of
from maskrcnn_operator.cluster.resources import Resource
from maskrcnn_operator.runtime.supervision import run_together

log = logging.getLogger(__name__)

FIRST_WAIT = 0.2
WAIT_LIMIT = 5.0
"""Longest wait in seconds before a watch is resumed, which is also the delay after an outage of the API server."""
LONG_ENOUGH = 30.0
"""Seconds after which a watch counts as successful, so that the next one starts without back-off."""

Login = Callable[[], Awaitable[kopf.ConnectionInfo]]
Hear = Callable[[Resource, Any], None]
"""Handler of an event of a watch: ``{"type": ..., "object": ...}``."""
Events = Callable[[Resource, str | None, int], AsyncGenerator[Any, None]]
"""Function that yields the events of one watch of a kind in a namespace (None: all) since a version, until it ends."""

_UNAVAILABLE = (
    errors.APIServerError,
    errors.APITooManyRequestsError,
    credentials.LoginError,
    aiohttp.ClientError,
    ApiError,
    OSError,
    TimeoutError,
)
"""Errors after which a watch is resumed from the same version."""


class Lists(Protocol):
    """Part of :class:`maskrcnn_operator.runtime.relisting.Relisting` that watches use."""

    async def versions(self, namespace: str | None, *, fresh: bool = False) -> Mapping[Resource, int]:
        """Return the versions of a namespace's newest lists; with ``fresh``, of lists that start after this call."""


class Broken(Exception):
    """Error: the watch cannot continue from its version."""


class _Credentials(credentials.Vault):
    """Credentials of one watch. If they are rejected, the watch ends, and the next one logs in again."""

    async def invalidate(
        self,
        key: Any,  # noqa: ARG002 - kopf's signature
        info: Any,  # noqa: ARG002 - kopf's signature
        *,
        exc: Exception | None = None,
    ) -> None:
        raise exc or credentials.LoginError("the API server rejected the credentials")


def watch_settings() -> kopf.OperatorSettings:
    """Return kopf's settings for one watch."""
    settings = kopf.OperatorSettings()
    # no retries in kopf: an error ends the watch, and is handled here
    settings.networking.error_backoffs = ()
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.watching.server_timeout = 600
    for resource in WATCHED:
        if resource.selector:
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = resource.selector
    return settings


async def connection_info(load: Callable[[], Awaitable[Configuration]]) -> kopf.ConnectionInfo:
    """Convert the connection of the official asynchronous client to kopf's type.

    kopf's own login would use the official blocking client, with separate settings.
    """
    settings = await load()
    header = await settings.get_api_key_with_prefix("BearerToken", alias="authorization") or ""
    return kopf.ConnectionInfo(
        server=settings.host,
        ca_path=settings.ssl_ca_cert,
        insecure=not settings.verify_ssl,
        token=header.split(" ")[-1] or None,
        certificate_path=settings.cert_file,
        private_key_path=settings.key_file,
        proxy_url=settings.proxy,
    )


def kopf_events(login: Login) -> Events:
    """Return a function that yields the events of kopf's watches.

    Args:
        login: returns the connection to the API server; called for each watch, since tokens expire.
    """
    settings = watch_settings()

    async def events(resource: Resource, namespace: str | None, since: int) -> AsyncGenerator[Any, None]:
        vault = _Credentials({"login": await login()})
        auth.vault_var.set(vault)
        kind = references.Resource(resource.group, resource.version, resource.plural, namespaced=True)
        stream = watching.watch_objs(
            settings=settings,
            resource=kind,
            namespace=references.NamespaceName(namespace) if namespace is not None else None,
            since=str(since),
            operator_pause_waiter=asyncio.get_running_loop().create_future(),
        )
        try:
            async with aclosing(stream):  # type: ignore[type-var] # a generator, declared as an iterator
                async for event in stream:
                    yield event
        finally:
            await vault.close()

    return events


class Watch:
    """Watch of one kind in one namespace (None: all)."""

    def __init__(self, resource: Resource, namespace: str | None, lists: Lists, hear: Hear, events: Events) -> None:
        self.resource, self.namespace = resource, namespace
        self._lists, self._hear, self._events = lists, hear, events
        self._problem = ""

    async def run(self) -> None:
        """Watch until canceled, restarting after every end."""
        since, wait = await self._listed(), FIRST_WAIT
        while True:
            began = time.monotonic()
            try:
                async with aclosing(self._events(self.resource, self.namespace, since)) as events:
                    async for event in events:
                        since = self._take(event, since)
                        wait, self._problem = FIRST_WAIT, ""
            except Exception as error:  # noqa: BLE001 - no error of one request may end the watch for good
                self._report(error)
                if not isinstance(error, _UNAVAILABLE):
                    since = await self._listed(fresh=True)
            if time.monotonic() - began > LONG_ENOUGH:
                wait = FIRST_WAIT
            await asyncio.sleep(wait)
            wait = min(WAIT_LIMIT, wait * 2)

    def _take(self, event: Any, since: int) -> int:
        """Pass an event to the handler; return the version from which the watch can continue."""
        kind = event.get("type") if isinstance(event, dict) else None
        item = event.get("object") if isinstance(event, dict) else None
        if kind == "ERROR":
            raise Broken(str(item.get("message") if isinstance(item, dict) else item))
        if kind != "BOOKMARK":
            self._hear(self.resource, event)
        return version_of(item.get("metadata") if isinstance(item, dict) else None) or since

    async def _listed(self, *, fresh: bool = False) -> int:
        return (await self._lists.versions(self.namespace, fresh=fresh))[self.resource]

    def _report(self, error: Exception) -> None:
        """Log a problem, at debug level if it is the same as before."""
        problem = f"{type(error).__name__} {getattr(error, 'status', '')}"
        level = logging.DEBUG if problem == self._problem else logging.WARNING
        level = min(level, logging.INFO) if isinstance(error, Broken) else level
        log.log(level, "Watch of %s ended, restarting: %s: %s", self._name, problem.strip(), error)
        self._problem = problem

    @property
    def _name(self) -> str:
        return f"{self.resource.plural} in {self.namespace or 'all namespaces'}"


async def watch(lists: Lists, hear: Hear, events: Events, namespaces: Sequence[str], stop: asyncio.Event) -> None:
    """Watch all kinds in all given namespaces until ``stop`` is set.

    Args:
        lists: returns the versions to start from.
        hear: handler of the events.
        events: yields the events of one watch.
        namespaces: namespaces to watch; empty for all.
        stop: ends the watches.

    Raises:
        EndedEarly: a watch has ended and was not restarted.
    """
    places: tuple[str | None, ...] = tuple(namespaces) or (None,)
    works = {
        f"watch of {resource.plural} in {place or '*'}": Watch(resource, place, lists, hear, events).run()
        for place in places
        for resource in WATCHED
    }
    watches, stopped = asyncio.create_task(run_together(works)), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({watches, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await watches
    finally:
        watches.cancel()
        stopped.cancel()
        await asyncio.gather(watches, stopped, return_exceptions=True)
