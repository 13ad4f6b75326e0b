"""Writes of an experiment's status: whole by server-side apply, or only its conditions by merge patch.

The merge patch is used for a status that the API server rejects or that this release cannot read: the stored steps stay
unchanged. Its conditions belong to a separate field manager. So an apply that no longer lists such a condition does not
remove it, or is even rejected, since the rest of a condition with two owners isn't valid. Every apply therefore ends
such ownership if its response shows any.

If conditions of other writers leave no room for ours (:mod:`maskrcnn_operator.core.crowding`), some of them are
removed, and an event names them.
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
"""Conditions that exist only while they are True; the others are in every status."""


class StatusWriter:
    """Writer of the status of experiments.

    Args:
        fence: called before every write; raises if this replica may no longer write.
        record_event: called with each event to record about an experiment.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        *,
        fence: Callable[[], None],
        record_event: Callable[[Regarding, Event], None] = lambda *_: None,
    ) -> None:
        self._client, self._cache, self._fence, self._record_event = client, cache, fence, record_event

    async def apply(
        self, namespace: str, name: str, status: Mapping[str, Any], resource_version: str
    ) -> Mapping[str, Any]:
        """Apply a status, except its progress; return the object's new metadata.

        Raises:
            Conflict: the status was computed from an outdated object.
            StatusRefused: the API server rejects the status.
        """
        sent = _without_empty_values({key: value for key, value in status.items() if key != "progress"})
        try:
            metadata = await self._apply(namespace, name, sent, resource_version)
        except StatusRefused as refused:
            version = await self._make_way(namespace, name, sent, resource_version, refused)
            if version is None:
                raise
            metadata = await self._apply(namespace, name, sent, version)
        return await self._own(namespace, name, sent, metadata)

    async def report(self, key: Key, notice: Notice, entry: ExperimentEntry, now: datetime) -> bool:
        """Write a notice into the conditions of an experiment; return whether it is there now.

        Args:
            key: key of the experiment.
            notice: the notice.
            entry: the experiment that it is about. An object with another uid or generation gets no notice.
            now: time of day, aware.
        """
        if entry.raw is not None and "status" not in entry.raw:
            return await self._report_undecodable(key, notice, entry, now)
        live = await self._client.get(EXPERIMENTS, *key)
        metadata = live["metadata"]
        if metadata["uid"] != entry.uid or int(metadata.get("generation") or 1) != entry.generation:
            return False
        before = raw_conditions(live)
        after = with_notice(before, notice, entry.generation, now)
        if after != before:
            live = await self._patch_notice(live, after)
            log.warning("Set condition reason %s: %s", notice.reason.value, notice.message)
        self._cache.put(EXPERIMENTS, live)
        return True

    async def _report_undecodable(self, key: Key, notice: Notice, entry: ExperimentEntry, now: datetime) -> bool:
        """Write a notice to an object of which only the metadata can be read; its other conditions are lost."""
        self._fence()
        after = with_notice((), notice, entry.generation, now)
        left = await self._client.patch_conditions(*key, after, entry.version, metadata_only=True)
        log.warning("Set condition reason %s: %s", notice.reason.value, notice.message)
        self._cache.put_undecodable(left["metadata"], reported=True)
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
        """Take over conditions of other managers that an accepted apply lists, and remove those that it leaves out."""
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
        """Remove conditions because of which ``sent`` was rejected; return the new version, or None without any.

        These are conditions with two owners that ``sent`` no longer lists, and conditions of other writers that leave
        no room.
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
        self._report_removed(live["metadata"], crowding)
        return version

    async def _patch_notice(self, live: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Write the conditions of a notice, without conditions of other writers that leave no room for it."""
        metadata = live["metadata"]
        removed = conditions_to_remove(conditions)
        try:
            left = await self._patch(metadata, conditions, removed)
        except ApiError as refused:
            removed = conditions_to_remove(conditions, too_large=True)
            if not is_refused_for_its_size(refused) or not removed:
                raise
            left = await self._patch(metadata, conditions, removed)
        self._report_removed(metadata, removed)
        return left

    async def _patch(
        self, metadata: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]], removed: frozenset[str]
    ) -> dict[str, Any]:
        kept = [condition for condition in conditions if condition.get("type") not in removed]
        self._fence()
        version = metadata["resourceVersion"]
        return await self._client.patch_conditions(metadata["namespace"], metadata["name"], kept, version)

    def _report_removed(self, metadata: Mapping[str, Any], removed: frozenset[str]) -> None:
        if not removed:
            return
        names = ", ".join(sorted(one_line(kind, _KIND_LENGTH) for kind in removed))
        message = (
            f"status.conditions had no room for the operator's conditions; removed conditions of other writers: {names}"
        )
        log.warning("%s", message)
        regarding = Regarding(*(str(metadata[field]) for field in ("namespace", "name", "uid", "resourceVersion")))
        self._record_event(regarding, Event("Warning", Reason.CONDITIONS_REMOVED, message))

    async def _remove(self, live: Mapping[str, Any], kinds: frozenset[str], version: str) -> str:
        """Remove conditions of any owner; return the new version.

        Raises:
            Conflict: the experiment has changed since ``version``.
        """
        metadata = live["metadata"]
        kept = [condition for condition in raw_conditions(live) if condition.get("type") not in kinds]
        self._fence()
        left = await self._client.patch_conditions(metadata["namespace"], metadata["name"], kept, version)
        return str(left["metadata"]["resourceVersion"])


def _without_empty_values(status: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out empty texts, lists, and maps: absent means the same, and each value adds to the cost of every write."""
    found = {key: value for key, value in status.items() if not _is_empty(value)}
    if "steps" in found:
        found["steps"] = [
            {key: value for key, value in step.items() if not _is_empty(value)} for step in found["steps"]
        ]
    return found


def _is_empty(value: object) -> bool:
    return isinstance(value, str | list | dict) and not value


class Owners(NamedTuple):
    """Types of the conditions that the status manager owns in part or whole, and of those that others do."""

    ours: frozenset[str]
    others: frozenset[str]


def owners_of_conditions(managed_fields: object) -> Owners:
    """Return the owners of conditions from an object's ``metadata.managedFields``."""
    ours: set[str] = set()
    others: set[str] = set()
    for entry in managed_fields if isinstance(managed_fields, list) else ():
        kinds = _kinds_in(entry.get("fieldsV1"))
        by_us = (entry.get("manager"), entry.get("operation")) == (STATUS_MANAGER, "Apply")
        (ours if by_us else others).update(kinds)
    return Owners(frozenset(ours), frozenset(others))


def _kinds_in(fields: object) -> set[str]:
    """Return the types in the keys ``k:{"type":"Ready"}`` below ``f:status`` and ``f:conditions``."""
    for part in ("f:status", "f:conditions"):
        fields = fields.get(part) if isinstance(fields, Mapping) else None
    keys = fields if isinstance(fields, Mapping) else {}
    return {kind for key in keys if key.startswith("k:{") and (kind := _kind_of(key[2:])) is not None}


def _kind_of(key: str) -> str | None:
    # users can write managedFields, and the API server accepts values of any depth there
    try:
        kind = json.loads(key).get("type")
    except (ValueError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None


def _kinds(status: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(condition["type"] for condition in status.get("conditions") or ())
