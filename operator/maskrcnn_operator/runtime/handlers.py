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


def make_registry(
    cache: Cache, login: Login, on_key: OnKey, on_cut: Callable[[], None], heard_of: set[str]
) -> kopf.OperatorRegistry:
    """The handlers of one operator.

    Args:
        login: how to reach the API server.
        on_key: told of each experiment of which something has changed.
        on_cut: told that a watch was cut and begins with a list: what was deleted in between nobody tells.
        heard_of: uids of what the watches have told since they began; filled here.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def connection(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    def heard(resource: Resource, event: kopf.RawEvent) -> None:
        item: Any = event["object"]
        uid = item["metadata"]["uid"]
        # what comes with a list has no type; the first list of a watch tells what nobody has heard of yet
        if event["type"] is None and uid in heard_of:
            on_cut()
        heard_of.add(uid)
        key = cache.put(resource, item)
        if event["type"] == "DELETED":
            # its last state comes with it, such as a pod's last word
            key = cache.drop(resource, uid) or key
            heard_of.discard(uid)
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
