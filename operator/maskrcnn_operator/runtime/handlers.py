"""What is heard of the cluster: every handler puts an object into the cache and its key on the queue, and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from maskrcnn_operator.api.base import GROUP, PLURAL, VERSION
from maskrcnn_operator.cluster.cache import Cache, Key
from maskrcnn_operator.cluster.resources import EXPERIMENT_LABEL, EXPERIMENTS, JOBS, PODS, Resource

Login = Callable[[], Awaitable[kopf.ConnectionInfo]]
OnKey = Callable[[Key], None]


def make_registry(cache: Cache, login: Login, on_key: OnKey, on_listing: Callable[[], None]) -> kopf.OperatorRegistry:
    """The handlers of one operator.

    Args:
        login: how to reach the API server.
        on_key: told of each experiment of which something has changed.
        on_listing: told of each object that comes with a list in place of a watch: what was deleted since the watch
            before was cut is not told by anybody.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def connection(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    def heard(resource: Resource, event: kopf.RawEvent) -> None:
        item: Any = event["object"]
        if event["type"] is None:
            on_listing()
        key = cache.put(resource, item)
        if event["type"] == "DELETED":
            # its last state comes with it, such as a pod's last word
            key = cache.drop(resource, item["metadata"]["uid"]) or key
        if key is not None:
            on_key(key)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def experiment(event: kopf.RawEvent, **_: Any) -> None:
        heard(EXPERIMENTS, event)

    @kopf.on.event("batch", "v1", "jobs", labels={EXPERIMENT_LABEL: kopf.PRESENT}, registry=registry)
    async def job(event: kopf.RawEvent, **_: Any) -> None:
        heard(JOBS, event)

    @kopf.on.event("", "v1", "pods", labels={EXPERIMENT_LABEL: kopf.PRESENT}, registry=registry)
    async def pod(event: kopf.RawEvent, **_: Any) -> None:
        heard(PODS, event)

    return registry
