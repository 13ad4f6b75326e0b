"""Lists of a namespace, which find changes that watches miss, such as deletions while a watch was interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import Gone
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.paging import METADATA_ONLY, version_of
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, PODS, Resource

log = logging.getLogger(__name__)

ORDER = (JOBS, PODS, EXPERIMENTS)
"""Experiments come last: an experiment that is known before its Jobs and pods would seem to have none."""

_BREATH = 25
"""Objects read between two yields to the event loop."""
_FEW = 20
"""Up to this number, objects are fetched one by one even if they are more than a quarter of all."""
_MANY = 200
"""Above this number, objects are not fetched one by one: a list of all takes fewer calls."""
_ANY_VERSION = 2**64


async def list_namespace(
    client: Client, cache: Cache, namespace: str | None, changed: set[Key], *, compare: bool = False
) -> dict[Resource, int]:
    """Synchronize the cache with the API server; return the version of each kind's list.

    Args:
        client: client of the API server.
        cache: the cache to update.
        namespace: None for all namespaces.
        changed: filled with the keys of the changed experiments, even if a list fails.
        compare: read the metadata of all objects, and then only the objects whose versions differ from the cache's.

    Raises:
        ApiError: a list failed; the cache keeps what was read before.
    """
    read = _compare_kind if compare else _read_kind
    versions: dict[Resource, int] = {}
    for resource in ORDER:
        try:
            versions[resource] = await read(client, cache, resource, namespace, changed)
        except Gone:
            log.info(
                "The list of %s in %s took too long and its version expired, restarting it",
                resource.plural,
                namespace or "all namespaces",
            )
            versions[resource] = await read(client, cache, resource, namespace, changed)
    return versions


def forget_namespace(cache: Cache, namespace: str) -> set[Key]:
    """Drop all objects of a deleted namespace; return the keys that changed."""
    return {key for kind in ORDER for key in cache.retain(kind, namespace, set(), _ANY_VERSION)}


async def _read_kind(client: Client, cache: Cache, resource: Resource, namespace: str | None, changed: set[Key]) -> int:
    uids: set[str] = set()
    version = 0
    async for page in client.list(resource, namespace):
        version = page.version
        for item in page.items:
            uids.add(item["metadata"]["uid"])
            key = _take_in(cache, resource, item)
            if key is not None:
                changed.add(key)
            if len(uids) % _BREATH == 0:
                await asyncio.sleep(0)
    changed |= cache.retain(resource, namespace, uids, version)
    return version


async def _compare_kind(
    client: Client, cache: Cache, resource: Resource, namespace: str | None, changed: set[Key]
) -> int:
    uids: set[str] = set()
    differing: list[tuple[str, str]] = []
    version = 0
    async for page in client.list_metadata(resource, namespace):
        version = page.version
        for item in page.items:
            metadata = item["metadata"]
            uids.add(metadata["uid"])
            if cache.lacks(resource, metadata["uid"], version_of(metadata)):
                differing.append((metadata["namespace"], metadata["name"]))
        await asyncio.sleep(0)
    if len(differing) > max(_FEW, min(_MANY, len(uids) // 4)):
        return await _read_kind(client, cache, resource, namespace, changed)
    changed |= cache.retain(resource, namespace, uids, version)
    for place, name in differing:
        found = await client.find(resource, place, name)
        key = _take_in(cache, resource, found) if found is not None else None
        if key is not None:
            changed.add(key)
    return version


def _take_in(cache: Cache, resource: Resource, item: Mapping[str, Any]) -> Key | None:
    if item.get("kind") != METADATA_ONLY:
        return cache.put(resource, item)
    return cache.put_undecodable(item["metadata"], resource)
