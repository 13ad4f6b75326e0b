"""Which replica reconciles: the holder of a Lease, renewed in time.

The times and rules are those of the Go client's leader election: a Lease is free when its holder is empty, or has not
renewed it for its duration as seen by the clock of the replica that looks, so that clocks need not agree.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maskrcnn_operator.cluster.client import Client, Object
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound
from maskrcnn_operator.cluster.events import micro_time
from maskrcnn_operator.cluster.resources import LEASES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds.

    Attributes:
        duration: another replica takes the Lease when it was not renewed for so long.
        renew_deadline: we stop to write when we could not renew it for so long; below ``duration``.
        retry: between two tries.
    """

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class LeaderElection:
    """Takes the Lease when it is free and keeps it.

    Args:
        identity: name of this replica, unlike any other's.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        times: LeaseTimes = LeaseTimes(),
        on_change: Callable[[bool], None] = lambda held: None,
    ) -> None:
        self._client, self._namespace, self._name = client, namespace, name
        self.identity, self._times = identity, times
        self.on_change: Callable[[bool], None] = lambda held: None
        """Told of every gain (True) and loss (False)."""
        self._renewed = float("-inf")
        self._told = False
        self._seen: tuple[Any, float] = (None, 0.0)
        self._mine: Object | None = None

    @property
    def held(self) -> bool:
        """Whether it may write: it holds the Lease and has renewed it in time."""
        return time.monotonic() - self._renewed < self._times.renew_deadline

    async def run(self) -> None:
        """Takes and renews until it is cancelled; :meth:`release` is the caller's."""
        while True:
            started = time.monotonic()
            try:
                async with asyncio.timeout(self._times.renew_deadline / 2):
                    if await self._take_or_renew():
                        self._renewed = started
            except (ApiError, TimeoutError) as error:
                log.warning("The Lease %s/%s could not be renewed: %s", self._namespace, self._name, error)
            self._tell()
            left = self._renewed + self._times.renew_deadline - time.monotonic()
            # a loss is told when it happens, not at the next try
            await asyncio.sleep(min(self._times.retry, left) if left > 0 else self._times.retry)
            self._tell()

    async def release(self) -> None:
        """Gives the Lease back, so that another replica need not wait for its end. Never raises."""
        if not self.held:
            return
        self._renewed, self._mine = float("-inf"), None
        self._tell()
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name, urgent=True)
            if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._replace(lease, spec)
        except ApiError as error:
            log.warning("The Lease could not be released: %s", error)

    def _tell(self) -> None:
        if self.held != self._told:
            self._told = self.held
            log.info("%s the Lease %s/%s", "Holds" if self._told else "Lost", self._namespace, self._name)
            self.on_change(self._told)

    async def _take_or_renew(self) -> bool:
        now = micro_time(datetime.now(UTC))
        spec: dict[str, Any] = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._times.duration)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        try:
            lease = self._mine or await self._client.get(LEASES, self._namespace, self._name, urgent=True)
        except NotFound:
            return await self._create(spec)
        old = lease.get("spec") or {}
        holder = old.get("holderIdentity") or ""
        if holder == self.identity:
            spec |= {"acquireTime": old.get("acquireTime", now), "leaseTransitions": old.get("leaseTransitions", 0)}
        elif holder and not self._expired(old):
            return False
        else:
            spec["leaseTransitions"] = int(old.get("leaseTransitions") or 0) + 1
        self._mine = None
        try:
            self._mine = await self._replace(lease, spec)
        except (Conflict, NotFound):
            return False
        return True

    def _expired(self, spec: dict[str, Any]) -> bool:
        record = (spec.get("holderIdentity"), spec.get("renewTime"))
        now = time.monotonic()
        if record != self._seen[0]:
            self._seen = (record, now)
        return now - self._seen[1] > float(spec.get("leaseDurationSeconds") or self._times.duration)

    async def _create(self, spec: dict[str, Any]) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": spec,
        }
        try:
            self._mine = await self._client.create(LEASES, self._namespace, body, urgent=True)
        except Conflict:
            return False
        return True

    async def _replace(self, lease: Object, spec: dict[str, Any]) -> Object:
        body = {**lease, "spec": spec}
        return await self._client.replace(LEASES, self._namespace, self._name, body, urgent=True)
