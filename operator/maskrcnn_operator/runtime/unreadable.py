"""Count and log of objects that can't be read; each object is logged once."""

from __future__ import annotations

import logging
from collections import OrderedDict

from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.cluster.resources import Resource
from maskrcnn_operator.metrics import process as metrics

log = logging.getLogger(__name__)

_LOGGED = 1_000
"""Most objects that are remembered as logged; the oldest others may be logged again."""
_NAME_LENGTH = 253
_WHY_LENGTH = 200


class UnreadableObjects:
    """Callback for objects that can't be read: :data:`maskrcnn_operator.cluster.cache.OnUnreadable`."""

    def __init__(self) -> None:
        self._logged: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def __call__(self, resource: Resource, namespace: str, name: str, error: Exception) -> None:
        """Count the object, and log it unless it was logged before, since lists and watches return it repeatedly."""
        metrics.unreadable_object(resource.plural)
        shown = (resource.plural, one_line(namespace, _NAME_LENGTH), one_line(name, _NAME_LENGTH))
        new = shown not in self._logged
        self._logged[shown] = None
        self._logged.move_to_end(shown)
        while len(self._logged) > _LOGGED:
            self._logged.popitem(last=False)
        if new:
            why = one_line(f"{type(error).__name__}: {error}", _WHY_LENGTH)
            log.warning("%s %s/%s can't be read and is skipped: %s", *shown, why)
