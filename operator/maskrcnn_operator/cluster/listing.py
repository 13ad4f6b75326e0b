"""Full lists: what watches cannot tell is found by them, such as what was deleted while a watch was cut."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from maskrcnn_operator.cluster.cache import WATCHED, Cache, Key
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import Gone
from maskrcnn_operator.cluster.resources import Resource

log = logging.getLogger(__name__)

_BREATH = 25
"""Objects read between two turns of the event loop."""


async def list_all(client: Client, cache: Cache, namespaces: Sequence[str | None]) -> set[Key]:
    """Makes the cache what the API server says of every kind; the keys of what has changed by it.

    Args:
        namespaces: the ones to list; ``[None]`` for all.

    Raises:
        ApiError: a list failed; what was read before it stays in the cache.
    """
    changed: set[Key] = set()
    for resource in WATCHED:
        for namespace in namespaces:
            try:
                changed |= await _list_kind(client, cache, resource, namespace)
            except Gone:
                log.info("The list of %s took too long and is begun anew", resource.plural)
                changed |= await _list_kind(client, cache, resource, namespace)
    cache.mark_listed()
    return changed


async def _list_kind(client: Client, cache: Cache, resource: Resource, namespace: str | None) -> set[Key]:
    changed: set[Key] = set()
    uids: set[str] = set()
    version = 0
    async for page in client.list(resource, namespace):
        version = page.version
        for item in page.items:
            uids.add(item["metadata"]["uid"])
            key = cache.put(resource, item)
            if key is not None:
                changed.add(key)
            if len(uids) % _BREATH == 0:
                await asyncio.sleep(0)
    return changed | cache.retain(resource, namespace, uids, version)
