"""Writes of an experiment's status: the whole of it by server-side apply, its conditions alone by merge patch.

The merge patch is for a status that the API server refuses, or that this release cannot read: the steps stay as they
are stored. Its items belong to a field manager of its own, so an apply that no longer lists one does not remove it, or
is even refused, since what is left of an item with two owners is no longer a valid condition. Every apply therefore
ends such ownership where its answer shows any.

Where conditions of other writers leave no room for ours (:mod:`maskrcnn_operator.core.crowding`), some are removed, and
an event says which.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import ConditionType
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.cluster.cache import Cache, ExperimentEntry
from maskrcnn_operator.cluster.client import STATUS_MANAGER, Client
from maskrcnn_operator.cluster.errors import (
    ApiError,
    StatusRefused,
    is_refused_for_its_content,
    is_refused_for_its_size,
)
from maskrcnn_operator.cluster.events import Regarding
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.core.crowding import conditions_to_remove
from maskrcnn_operator.core.notice import Notice, raw_conditions, with_notice
from maskrcnn_operator.core.plan import Event

log = logging.getLogger(__name__)

_KIND_LENGTH = 64
SOMETIMES_ABSENT = frozenset({ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.SUSPENDED})
"""Conditions that stand there only while they are True; the others are in every status, whoever owns them."""


class StatusWriter:
    """The status of experiments.

    Args:
        fence: called before every write; raises where this replica may no longer write.
        tell: called with an event that is worth telling of an experiment.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        *,
        fence: Callable[[], None],
        tell: Callable[[Regarding, Event], None] = lambda *_: None,
    ) -> None:
        self._client, self._cache, self._fence, self._tell_event = client, cache, fence, tell

    async def apply(
        self, namespace: str, name: str, status: Mapping[str, Any], resource_version: str
    ) -> Mapping[str, Any]:
        """Apply a status, its progress apart; return the object's new metadata.

        Raises:
            Conflict: it was computed from an old object.
            StatusRefused: the API server does not take such a status.
        """
        sent = _without_what_is_empty({key: value for key, value in status.items() if key != "progress"})
        try:
            metadata = await self._apply(namespace, name, sent, resource_version)
        except StatusRefused as refused:
            version = await self._make_way(namespace, name, sent, resource_version, refused)
            if version is None:
                raise
            metadata = await self._apply(namespace, name, sent, version)
        return await self._own(namespace, name, sent, metadata)

    async def tell(self, key: Key, told: Notice, entry: ExperimentEntry, now: datetime) -> bool:
        """Write a notice into the conditions of an experiment; return whether it stands there.

        Args:
            entry: the experiment that it speaks of: another one of this name, or another generation, gets none.
        """
        if entry.raw is not None and "status" not in entry.raw:
            return await self._tell_undecodable(key, told, entry, now)
        live = await self._client.get(EXPERIMENTS, *key)
        metadata = live["metadata"]
        if metadata["uid"] != entry.uid or int(metadata.get("generation") or 1) != entry.generation:
            return False
        before = raw_conditions(live)
        after = with_notice(before, told, entry.generation, now)
        if after != before:
            live = await self._patch_notice(live, after)
            log.warning("The status says %s: %s", told.reason.value, told.message)
        self._cache.put(EXPERIMENTS, live)
        return True

    async def _tell_undecodable(self, key: Key, told: Notice, entry: ExperimentEntry, now: datetime) -> bool:
        """As :meth:`tell`, for an object of which only the metadata can be read: other conditions are lost."""
        self._fence()
        after = with_notice((), told, entry.generation, now)
        left = await self._client.patch_conditions(*key, after, entry.version, metadata_only=True)
        log.warning("The status says %s: %s", told.reason.value, told.message)
        self._cache.put_undecodable(left["metadata"], told=True)
        return True

    async def _apply(self, namespace: str, name: str, sent: Mapping[str, Any], version: str) -> Mapping[str, Any]:
        self._fence()
        try:
            answer = await self._client.apply_status(namespace, name, sent, version)
        except ApiError as error:
            if is_refused_for_its_content(error):
                raise StatusRefused(error.status, error.reason, error.message, error.retry_after) from error
            raise
        metadata: Mapping[str, Any] = answer["metadata"]
        return metadata

    async def _own(
        self, namespace: str, name: str, sent: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Make the conditions that an accepted apply lists its own, and remove the others of their kinds."""
        foreign = owners_of_conditions(metadata.get("managedFields")).others & SOMETIMES_ABSENT
        if not foreign:
            return metadata
        live = await self._client.get(EXPERIMENTS, namespace, name)
        version = await self._remove(live, foreign, metadata["resourceVersion"])
        if foreign.isdisjoint(_kinds(sent)):
            return {**metadata, "resourceVersion": version}
        return await self._apply(namespace, name, sent, version)

    async def _make_way(
        self, namespace: str, name: str, sent: Mapping[str, Any], version: str, refused: StatusRefused
    ) -> str | None:
        """Remove conditions that keep ``sent`` from being accepted; return the new version, None where there are none.

        These are conditions of two owners that ``sent`` no longer lists, and those of other writers that are too many.
        """
        live = await self._client.get(EXPERIMENTS, namespace, name)
        ours, others = owners_of_conditions(live["metadata"].get("managedFields"))
        kinds = _kinds(sent)
        leaving = (ours & others & SOMETIMES_ABSENT) - kinds
        stay = tuple(condition for condition in raw_conditions(live) if condition.get("type") not in leaving)
        crowding = conditions_to_remove(stay, kinds, too_large=is_refused_for_its_size(refused))
        if not leaving | crowding:
            return None
        version = await self._remove(live, leaving | crowding, version)
        self._tell_removed(live["metadata"], crowding)
        return version

    async def _patch_notice(self, live: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Write the conditions of a notice, without those of other writers that leave no room for it."""
        metadata = live["metadata"]
        removed = conditions_to_remove(conditions)
        try:
            left = await self._patch(metadata, conditions, removed)
        except ApiError as refused:
            removed = conditions_to_remove(conditions, too_large=True)
            if not is_refused_for_its_size(refused) or not removed:
                raise
            left = await self._patch(metadata, conditions, removed)
        self._tell_removed(metadata, removed)
        return left

    async def _patch(
        self, metadata: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]], removed: frozenset[str]
    ) -> dict[str, Any]:
        kept = [condition for condition in conditions if condition.get("type") not in removed]
        self._fence()
        version = metadata["resourceVersion"]
        return await self._client.patch_conditions(metadata["namespace"], metadata["name"], kept, version)

    def _tell_removed(self, metadata: Mapping[str, Any], removed: frozenset[str]) -> None:
        if not removed:
            return
        names = ", ".join(sorted(one_line(kind, _KIND_LENGTH) for kind in removed))
        message = (
            f"status.conditions had no room for the operator's conditions; removed those of other writers: {names}"
        )
        log.warning("%s", message)
        regarding = Regarding(*(str(metadata[field]) for field in ("namespace", "name", "uid", "resourceVersion")))
        self._tell_event(regarding, Event("Warning", Reason.CONDITIONS_REMOVED, message))

    async def _remove(self, live: Mapping[str, Any], kinds: frozenset[str], version: str) -> str:
        """Remove conditions, whoever owns them; return the new version.

        Raises:
            Conflict: the experiment has changed since ``version``.
        """
        metadata = live["metadata"]
        kept = [condition for condition in raw_conditions(live) if condition.get("type") not in kinds]
        self._fence()
        left = await self._client.patch_conditions(metadata["namespace"], metadata["name"], kept, version)
        return str(left["metadata"]["resourceVersion"])


def _without_what_is_empty(status: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out texts, lists and maps that are empty: absent means the same, and every value costs at every write."""
    found = {key: value for key, value in status.items() if not _is_empty(value)}
    if "steps" in found:
        found["steps"] = [
            {key: value for key, value in step.items() if not _is_empty(value)} for step in found["steps"]
        ]
    return found


def _is_empty(value: object) -> bool:
    return isinstance(value, str | list | dict) and not value


class Owners(NamedTuple):
    """Types of conditions: those of which the apply of the status owns something, and those of which others do."""

    ours: frozenset[str]
    others: frozenset[str]


def owners_of_conditions(managed_fields: object) -> Owners:
    """Read who owns conditions from an object's ``metadata.managedFields``."""
    ours: set[str] = set()
    others: set[str] = set()
    for entry in managed_fields if isinstance(managed_fields, list) else ():
        kinds = _kinds_in(entry.get("fieldsV1"))
        by_us = (entry.get("manager"), entry.get("operation")) == (STATUS_MANAGER, "Apply")
        (ours if by_us else others).update(kinds)
    return Owners(frozenset(ours), frozenset(others))


def _kinds_in(fields: object) -> set[str]:
    """The keys ``k:{"type":"Ready"}`` below ``f:status`` and ``f:conditions``."""
    for part in ("f:status", "f:conditions"):
        fields = fields.get(part) if isinstance(fields, Mapping) else None
    keys = fields if isinstance(fields, Mapping) else {}
    return {kind for key in keys if key.startswith("k:{") and (kind := _kind_of(key[2:])) is not None}


def _kind_of(key: str) -> str | None:
    # users may write managedFields, and the API server takes a value of any depth there
    try:
        kind = json.loads(key).get("type")
    except (ValueError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None


def _kinds(status: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(condition["type"] for condition in status.get("conditions") or ())
