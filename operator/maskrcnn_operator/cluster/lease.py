"""Which replica reconciles: the holder of a Lease, renewed in time.

The times and rules are those of the Go client's leader election: a Lease is free when its holder is empty, or has not
renewed it for its duration as seen by the clock of the replica that looks, so that clocks need not agree.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maskrcnn_operator.cluster.budget import CallPurpose
from maskrcnn_operator.cluster.client import Client, Object
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound
from maskrcnn_operator.cluster.resources import LEASES
from maskrcnn_operator.cluster.times import micro_time

log = logging.getLogger(__name__)

LONGEST_DURATION = 20.0
"""A Lease without renewal is free after so many times our own duration, whatever duration it has."""
_MOST_TRANSITIONS = 2**31 - 2
"""The field is an int32, and the next holder adds one."""


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
    ) -> None:
        self._client, self._namespace, self._name = client, namespace, name
        self.identity, self._times = identity, times
        self.on_change: Callable[[bool], None] = lambda _: None
        """Called with every gain (True) and loss (False)."""
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
            try:
                renewed = await self._take_or_renew()
                if renewed is not None:
                    self._renewed = renewed
            except (ApiError, TimeoutError) as error:
                log.warning("The Lease %s/%s could not be renewed: %s", self._namespace, self._name, error)
            self._tell()
            left = self._renewed + self._times.renew_deadline - time.monotonic()
            # a loss is told when it happens, not at the next try
            await asyncio.sleep(min(self._times.retry, left) if left > 0 else self._times.retry)
            self._tell()

    async def release(self) -> None:
        """Give the Lease back, so that another replica takes it at once.

        An error is logged. An answer is awaited for half of the time that a renewal has.
        """
        if not self.held:
            return
        self._renewed, self._mine = float("-inf"), None
        self._tell()
        try:
            async with asyncio.timeout(self._times.renew_deadline / 2):
                lease = await self._client.get(LEASES, self._namespace, self._name, purpose=CallPurpose.URGENT)
                spec = _spec(lease)
                if spec.get("holderIdentity") == self.identity:
                    await self._replace(lease, {**spec, "holderIdentity": "", "leaseDurationSeconds": 1})
        except (ApiError, TimeoutError) as error:
            log.warning("The Lease could not be released: %s", error)

    def _tell(self) -> None:
        if self.held != self._told:
            self._told = self.held
            log.info("%s the Lease %s/%s", "Holds" if self._told else "Lost", self._namespace, self._name)
            self.on_change(self._told)

    async def _in_time(self, call: Awaitable[Object]) -> Object:
        # each call alone: of an API server that takes 3 s for each, two under one limit would never end
        async with asyncio.timeout(self._times.renew_deadline / 2):
            return await call

    async def _take_or_renew(self) -> float | None:
        """Take or renew the Lease; return the moment from which it is held, None where another replica holds it."""
        lease = self._mine
        if lease is None:
            try:
                get = self._client.get(LEASES, self._namespace, self._name, purpose=CallPurpose.URGENT)
                lease = await self._in_time(get)
            except NotFound:
                pass
            self._tell()
        started, now = time.monotonic(), micro_time(datetime.now(UTC))
        spec: dict[str, Any] = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._times.duration)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        if lease is None:
            return started if await self._create(spec) else None
        old = _spec(lease)
        holder = old.get("holderIdentity") or ""
        if holder == self.identity:
            spec |= {"acquireTime": _moment(old) or now, "leaseTransitions": _transitions(old)}
        elif holder and not self._expired(old):
            return None
        else:
            spec["leaseTransitions"] = _transitions(old) + 1
        self._mine = None
        try:
            self._mine = await self._in_time(self._replace(lease, spec))
        except (Conflict, NotFound):
            return None
        return started

    def _expired(self, spec: dict[str, Any]) -> bool:
        record = (spec.get("holderIdentity"), spec.get("renewTime"))
        now = time.monotonic()
        if record != self._seen[0]:
            self._seen = (record, now)
        return now - self._seen[1] > _duration(spec, self._times.duration)

    async def _create(self, spec: dict[str, Any]) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": spec,
        }
        try:
            create = self._client.create(LEASES, self._namespace, body, purpose=CallPurpose.URGENT)
            self._mine = await self._in_time(create)
        except Conflict:
            return False
        return True

    async def _replace(self, lease: Object, spec: dict[str, Any]) -> Object:
        body = {**lease, "spec": spec}
        return await self._client.replace(LEASES, self._namespace, self._name, body, purpose=CallPurpose.URGENT)


# Whoever may write Leases may have written this one: a field that makes no sense is taken as if it were absent.


def _spec(lease: Object) -> Object:
    spec = lease.get("spec")
    return spec if isinstance(spec, dict) else {}


def _duration(spec: Object, own: float) -> float:
    """Return the seconds after which a Lease that isn't renewed is free."""
    found: object = spec.get("leaseDurationSeconds")
    if isinstance(found, int | float) and not isinstance(found, bool) and found > 0:
        return min(found, LONGEST_DURATION * own)
    return own


def _transitions(spec: Object) -> int:
    found: object = spec.get("leaseTransitions")
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= _MOST_TRANSITIONS:
        return found
    return 0


def _moment(spec: Object) -> str | None:
    found: object = spec.get("acquireTime")
    try:
        if isinstance(found, str) and datetime.fromisoformat(found):
            return found
    except ValueError:
        pass
    return None
