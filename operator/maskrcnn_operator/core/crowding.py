"""Conditions of other writers that leave no room for the operator's.

The length of the list and the size of the object are limited, and the API server refuses a write that exceeds them. The
operator's conditions are the state of the experiment, so those of other writers are removed, the last ones first.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from maskrcnn_operator.api.status import MOST_CONDITIONS, ConditionType
from maskrcnn_operator.core.notice import RawCondition

FOREIGN_BYTES = 64 << 10
"""Bytes left to the conditions of other writers in an object that is too large; etcd accepts 1.5 MB in all."""

_OURS = frozenset(map(str, ConditionType))


def conditions_to_remove(
    found: Sequence[RawCondition], sent: Collection[str] = (), *, too_large: bool = False
) -> frozenset[str]:
    """Return the types of other writers' conditions to remove so that a refused status is accepted.

    There is then room for every condition of the operator, so that its next change is not refused too. The result is
    empty if the conditions are not the cause of the refusal.

    Args:
        found: conditions of the object.
        sent: types of the conditions to write to it.
        too_large: whether the write was refused because of its size.
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
