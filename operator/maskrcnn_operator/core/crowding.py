"""Conditions of other writers that leave no room for ours.

The list is bounded, and so is the object: the last writer is refused. The operator's conditions say how the
experiment stands, so those of other writers make way, the last in the list first.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from maskrcnn_operator.api.status import MOST_CONDITIONS, ConditionType
from maskrcnn_operator.core.notice import RawCondition

FOREIGN_BYTES = 64 << 10
"""Bytes that conditions of other writers keep in an object that is too large: etcd takes 1.5 MB of all."""

_OURS = frozenset(map(str, ConditionType))


def conditions_to_remove(
    found: Sequence[RawCondition], sent: Collection[str] = (), *, too_large: bool = False
) -> frozenset[str]:
    """Return types of other writers' conditions without which a refused status is taken; none if they aren't the cause.

    Room is made for every condition of ours, so that the next change of them is not refused again.

    Args:
        found: the conditions of the object.
        sent: types of the conditions that are to be written to it.
        too_large: the write was refused because of its size.
    """
    kinds = [str(condition.get("type")) for condition in found]
    if not too_large and len({*kinds, *sent}) <= MOST_CONDITIONS:
        return frozenset()
    left, bytes_left = MOST_CONDITIONS - len(_OURS), FOREIGN_BYTES if too_large else None
    removed: set[str] = set()
    for condition, kind in zip(found, kinds, strict=True):
        if kind in _OURS:
            continue
        size = len(json.dumps(condition)) if bytes_left is not None else 0
        if left == 0 or (bytes_left is not None and size > bytes_left):
            removed.add(kind)
            continue
        left -= 1
        bytes_left = bytes_left - size if bytes_left is not None else None
    return frozenset(removed)
