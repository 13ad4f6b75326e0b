"""Owners of results in object storage: the id of the installation, or else the uid of the experiment's namespace.

A namespace that was deleted and created again has another uid, so a known uid counts only for experiments that existed
when it was read. A namespace that can't be read has an unknown owner: its experiments in object storage start no more
steps, running steps continue, and no other experiment is affected.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.cache import Cache, OnUnreadable
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, NotFound
from maskrcnn_operator.cluster.resources import NAMESPACES
from maskrcnn_operator.cluster.single_flight import SingleFlight
from maskrcnn_trainer.shared.identifiers import IDENTIFIER, IDENTIFIER_FORM

UNKNOWN_OWNER_SECONDS = 30.0
"""Seconds for which a namespace that can't be read isn't read again. It equals the time after which an experiment looks
again, so that many experiments of one namespace make as many calls as one."""
_KEPT_NAMESPACES = 10_000


@dataclass(frozen=True)
class _KnownOwner:
    """Result of a read.

    Attributes:
        owner_id: uid of the namespace; None if it can't be read.
        experiments: uids of the experiments that were known before the read.
        expires: time until which an unknown owner isn't read again, by the clock.
    """

    owner_id: str | None
    experiments: frozenset[str]
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
            ApiError: the call failed for another reason.
        """
        if self._owner_id is not None:
            return self._owner_id
        namespace, uid = experiment.metadata.namespace, experiment.metadata.uid
        known = self._known.get(namespace)
        while known is None or not self._counts_for(known, uid):
            # a read that another experiment has started may be older than this one
            known = await self._reads.ask(namespace, lambda: self._read(namespace, uid))
        return known.owner_id

    def _counts_for(self, known: _KnownOwner, uid: str) -> bool:
        return uid in known.experiments if known.owner_id is not None else self._clock() < known.expires

    async def _read(self, namespace: str, uid: str) -> _KnownOwner:
        before = {each.metadata.uid for each in self._cache.experiments() if each.metadata.namespace == namespace}
        owner_id = await self._uid_now(namespace)
        self._known.pop(namespace, None)
        found = _KnownOwner(owner_id, frozenset({*before, uid}), self._clock() + UNKNOWN_OWNER_SECONDS)
        self._known[namespace] = found
        while len(self._known) > _KEPT_NAMESPACES:
            self._known.popitem(last=False)
        return found

    async def _uid_now(self, namespace: str) -> str | None:
        try:
            return uid_of_namespace(await self._client.get(NAMESPACES, None, namespace))
        except NotFound:
            return None
        except ApiError as error:
            if error.status == 403:
                return None
            if error.reason == UNDECODABLE:
                self._on_unreadable(NAMESPACES, "", namespace, error)
                return None
            raise
        except ValueError as error:
            self._on_unreadable(NAMESPACES, "", namespace, error)
            return None


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
