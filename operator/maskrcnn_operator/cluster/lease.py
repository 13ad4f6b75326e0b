"""Leader election by a Lease: the replica that holds and renews it reconciles.

Times and rules are those of the Go client's leader election. A Lease is free if it has no holder, or if it was not
renewed for its duration. Each replica measures that duration with its own clock, so clocks need not be synchronized.
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
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound
from maskrcnn_operator.cluster.resources import LEASES, Object
from maskrcnn_operator.cluster.times import micro_time

log = logging.getLogger(__name__)

LONGEST_DURATION = 20.0
"""A Lease that is not renewed is free after at most this many times our own duration, even if its own is longer."""
_MOST_TRANSITIONS = 2**31 - 2
"""The field is an int32, and the next leader adds one."""


@dataclass(frozen=True)
class LeaseTimes:
    """Times of the leader election, in seconds.

    Attributes:
        duration: another replica takes the Lease if it was not renewed for this time.
        renew_deadline: the leader stops writing if it could not renew for this time; less than ``duration``.
        retry: time between two tries.
    """

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class LeaderElection:
    """Candidate in the leader election, which takes the Lease when it is free and renews it.

    Args:
        identity: unique name of this replica.
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
        """Called when the Lease is gained (True) or lost (False)."""
        self._renewed = float("-inf")
        self._reported = False
        self._seen: tuple[Any, float] = (None, 0.0)
        self._mine: Object | None = None

    @property
    def held(self) -> bool:
        """True if this replica may write, because it holds the Lease and renewed it in time."""
        return time.monotonic() - self._renewed < self._times.renew_deadline

    async def run(self) -> None:
        """Take and renew the Lease until canceled; the caller calls :meth:`release`."""
        while True:
            try:
                renewed = await self._take_or_renew()
                if renewed is not None:
                    self._renewed = renewed
            except (ApiError, TimeoutError) as error:
                log.warning("Could not take or renew Lease %s/%s, retrying: %s", self._namespace, self._name, error)
            self._report()
            left = self._renewed + self._times.renew_deadline - time.monotonic()
            # wake up at the deadline, so that a loss is reported at once and not at the next try
            await asyncio.sleep(min(self._times.retry, left) if left > 0 else self._times.retry)
            self._report()

    async def release(self) -> None:
        """Release the Lease, so that another replica takes it at once.

        Errors are logged. The calls may take half of ``renew_deadline`` together.
        """
        if not self.held:
            return
        self._renewed, self._mine = float("-inf"), None
        self._report()
        try:
            async with asyncio.timeout(self._times.renew_deadline / 2):
                lease = await self._client.get(LEASES, self._namespace, self._name, purpose=CallPurpose.URGENT)
                spec = _spec(lease)
                if spec.get("holderIdentity") == self.identity:
                    await self._replace(lease, {**spec, "holderIdentity": "", "leaseDurationSeconds": 1})
        except (ApiError, TimeoutError) as error:
            log.warning(
                "Could not release Lease %s/%s; another replica takes it when it expires: %s",
                self._namespace,
                self._name,
                error,
            )

    def _report(self) -> None:
        if self.held != self._reported:
            self._reported = self.held
            message = "Became leader: holds Lease %s/%s" if self._reported else "No longer leader: lost Lease %s/%s"
            log.info(message, self._namespace, self._name)
            self.on_change(self._reported)

    async def _in_time(self, call: Awaitable[Object]) -> Object:
        # one limit per call: with an API server that takes 3 s for each, two calls under one limit would never succeed
        async with asyncio.timeout(self._times.renew_deadline / 2):
            return await call

    async def _take_or_renew(self) -> float | None:
        """Take or renew the Lease; return the time of the renewal, or None if another replica holds the Lease."""
        lease = self._mine
        if lease is None:
            try:
                get = self._client.get(LEASES, self._namespace, self._name, purpose=CallPurpose.URGENT)
                lease = await self._in_time(get)
            except NotFound:
                pass
            self._report()
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


# Any client that may write Leases may have written this one: an invalid field counts as absent.


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
