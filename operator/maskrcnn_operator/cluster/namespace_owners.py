"""Owners of results in object storage: the id of the installation, or else the uid of the experiment's namespace.

A namespace that was deleted and created again has another uid. It can't be deleted while an experiment exists in it. So
a uid counts for the experiments for which it was read, and for a while also for new ones, if one of these still exists.

A namespace that can't be read has an unknown owner: its experiments in object storage start no more steps, running
steps continue, and no other experiment is affected.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.cluster.cache import Cache, OnUnreadable
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.optional_reads import read_optional
from maskrcnn_operator.cluster.resources import EXPERIMENTS, NAMESPACES
from maskrcnn_operator.cluster.single_flight import SingleFlight
from maskrcnn_trainer.shared.identifiers import IDENTIFIER, IDENTIFIER_FORM

KNOWN_OWNER_SECONDS = 60.0
"""Seconds for which a uid counts for new experiments. The cache may still have a deleted experiment while objects are
listed again after a lost watch, which takes longer than this."""
_KEPT_NAMESPACES = 10_000


@dataclass
class _KnownOwner:
    """Result of a read.

    Attributes:
        owner_id: uid of the namespace, if there are ``experiments``.
        experiments: uids of the experiments for which ``owner_id`` counts.
        is_read: the last read has succeeded, so that ``owner_id`` counts for new experiments, too.
        has_failed: the last read has failed, other than by a refusal.
        expires: time after which the namespace is read for an experiment that isn't among these, by the clock.
    """

    owner_id: str | None
    experiments: set[str]
    is_read: bool
    has_failed: bool
    expires: float


class NamespaceOwners:
    """Cache of the owners of namespaces.

    Args:
        cache: has the experiments of each namespace.
        owner_id: of the installation; None for the uid of each namespace.
        clock: monotonic clock, in seconds.
        on_unreadable: called at each read of a namespace whose object can't be read.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        owner_id: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        on_unreadable: OnUnreadable = lambda *_: None,
    ) -> None:
        self._client, self._cache, self._owner_id = client, cache, owner_id
        self._clock, self._on_unreadable = clock, on_unreadable
        self._known: OrderedDict[str, _KnownOwner] = OrderedDict()
        self._reads: SingleFlight[str, _KnownOwner] = SingleFlight()

    async def owner_of(self, experiment: MaskRCNNExperiment) -> str | None:
        """Return the owner of an experiment's results; None if its namespace can't be read.

        Raises:
            TooManyRequests: the API server accepts no calls now.
        """
        if self._owner_id is not None:
            return self._owner_id
        namespace, uid = experiment.metadata.namespace, experiment.metadata.uid
        known = self._known.get(namespace)
        while known is None or not self._counts_for(known, uid):
            # a read that another experiment has started may be older than this one
            known = await self._reads.ask(namespace, lambda: self._read(namespace, uid))
        return known.owner_id if uid in known.experiments else None

    def has_failed(self, namespace: str) -> bool:
        """Return whether the last read of a namespace failed, other than by a refusal, so that another may succeed."""
        known = self._known.get(namespace)
        return known is not None and known.has_failed

    def _counts_for(self, known: _KnownOwner, uid: str) -> bool:
        if uid in known.experiments:
            return True
        if self._clock() >= known.expires:
            return False
        if not known.is_read:
            return True
        if not any(self._cache.has(EXPERIMENTS, other) for other in known.experiments):
            return False
        known.experiments.add(uid)
        return True

    async def _read(self, namespace: str, uid: str) -> _KnownOwner:
        read = await read_optional(
            self._client, NAMESPACES, None, namespace, uid_of_namespace, on_unreadable=self._on_unreadable
        )
        before, now = self._known.pop(namespace, None), self._clock()
        existing = {other for other in before.experiments if self._cache.has(EXPERIMENTS, other)} if before else set()
        owner_id = before.owner_id if before else None
        if read.value is None:
            expires = now + read.unknown_seconds
            found = _KnownOwner(owner_id, existing, is_read=False, has_failed=read.has_failed, expires=expires)
        else:
            same = existing if owner_id == read.value else set()
            expires = now + KNOWN_OWNER_SECONDS
            found = _KnownOwner(read.value, same | {uid}, is_read=True, has_failed=False, expires=expires)
        self._known[namespace] = found
        while len(self._known) > _KEPT_NAMESPACES:
            self._known.popitem(last=False)
        return found


def uid_of_namespace(namespace: Mapping[str, object]) -> str:
    """Return ``metadata.uid``, the owner's id unless the installation has one.

    Raises:
        ValueError: it is missing, or can't be an owner's id.
    """
    metadata = namespace.get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, Mapping) else None
    if not isinstance(uid, str) or not IDENTIFIER.fullmatch(uid):
        raise ValueError(f"metadata.uid isn't {IDENTIFIER_FORM}")
    return uid
