"""Handler of watch events, which only puts an object into the cache and its key on the queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from maskrcnn_operator.cluster.cache import FOR_GOOD, Cache
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.paging import version_of
from maskrcnn_operator.cluster.resources import Resource

log = logging.getLogger(__name__)

OnKey = Callable[[Key], None]


def make_handler(cache: Cache, on_key: OnKey) -> Callable[[Resource, Any], None]:
    """Return the handler of watch events. It raises nothing, for any content of an event.

    Args:
        cache: the cache to update.
        on_key: called with the key of each changed experiment.
    """

    def handle(resource: Resource, event: Any) -> None:
        item = event.get("object") if isinstance(event, Mapping) else None
        metadata = item.get("metadata") if isinstance(item, Mapping) else None
        uid = metadata.get("uid") if isinstance(metadata, Mapping) else None
        if not isinstance(item, Mapping) or not isinstance(uid, str):
            log.warning("Skipped a watch event of %s: it has no object with a uid", resource.plural)
            return
        key = _put(cache, resource, item)
        if event.get("type") == "DELETED":
            # the event has the object's last state, such as a pod's termination message
            key = cache.drop(resource, uid, version_of(metadata) or FOR_GOOD) or key
        if key is not None:
            on_key(key)

    return handle


def _put(cache: Cache, resource: Resource, item: Mapping[str, Any]) -> Key | None:
    try:
        return cache.put(resource, item)
    except Exception as error:  # noqa: BLE001 - a malformed object must not affect others
        metadata = item["metadata"]
        name = f"{metadata.get('namespace')}/{metadata.get('name')}"
        log.warning(
            "%s %.512s can't be read and is skipped: %s: %.512s", resource.plural, name, type(error).__name__, error
        )
        return None
