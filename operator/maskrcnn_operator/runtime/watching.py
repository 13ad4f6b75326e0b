"""kopf's watches, and nothing else of kopf: no finalizers, annotations, events, peering or probing of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory
from kubernetes.aio.client import Configuration

from maskrcnn_operator.cluster.resources import EXPERIMENT_LABEL

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0


class _Forgetful(ResourceMemories):
    """What kopf keeps of every object for handlers that we have none of: nearly a kilobyte each, for good."""

    async def recall(self, *arguments: Any, **options: Any) -> ResourceMemory:
        return await super().recall(*arguments, **{**options, "ephemeral": True})


class _Endless:
    """Waits between tries to reach the API server, without an end: a watch has nothing else to do."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1.0, 2.0)
        while True:
            yield 3.0


class _NoDiffs(kopf.DiffBaseStorage):
    """What kopf compares for handlers of changes, of which there are none: it would copy every object whole."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


def watch_settings() -> kopf.OperatorSettings:
    """kopf's settings for watches alone."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.networking.error_backoffs = _Endless()
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.watching.server_timeout = 600
    settings.watching.chunk_size = 500
    # an idle object's task is ended soon: there are many objects, and each is quiet most of the time
    settings.queueing.idle_timeout = 1.0
    settings.process.ultimate_exiting_timeout = None
    for group, plural in (("batch", "jobs"), ("", "pods")):
        settings.watching.label_selectors[group, "v1", plural] = EXPERIMENT_LABEL
    return settings


async def connection_info(load: Callable[[], Any]) -> kopf.ConnectionInfo:
    """The connection of the official asynchronous client as kopf wants it.

    kopf's own login would use the official client's blocking half, with settings of its own.
    """
    settings: Configuration = await load()
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


async def watch(
    registry: kopf.OperatorRegistry,
    namespaces: Sequence[str],
    identity: str,
    stop: asyncio.Event,
    on_started: Callable[[], None],
) -> None:
    """Watches until ``stop`` is set; begun anew whenever kopf gives up.

    Args:
        namespaces: the ones to watch; none for all.
        identity: name of this process; kopf would look for the user's name, which a container need not have.
        on_started: called at each beginning, after kopf has taken the signal handlers of the process.
    """
    while not stop.is_set():
        ignored = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=watch_settings(),
            memories=_Forgetful(),
            standalone=True,
            identity=identity,  # type: ignore[arg-type]
            clusterwide=not namespaces,
            namespaces=list(namespaces),
            stop_flag=stop,
        )
        on_started()
        try:
            await kopf.run_tasks(tasks, ignored=ignored)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.warning("The watches ended and are begun anew: %s: %s", type(error).__name__, error)
        if not stop.is_set():
            await asyncio.sleep(RESTART_SECONDS)
