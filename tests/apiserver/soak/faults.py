"""Faults of a soak and their times, drawn from a seed before the run starts. No I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

FIRST, LAST = 0.05, 0.8
"""Period with faults, as fractions of the run; afterwards all experiments have to end as expected."""
MEAN_GAP_SECONDS = 6.0
SECONDS_BETWEEN_API_SERVER_RESTARTS = 75.0
LONGEST_FREEZE = 25.0
"""Seconds, longer than a Lease is valid, so that another replica leads when the frozen one resumes."""
LONGEST_ABSENCE = 5.0
SPARED_AFTER = 1 / 3
"""Fraction of the run after which one replica is frozen but not killed, so that its memory can be measured."""


class Fault(StrEnum):
    """Kinds of faults."""

    KILL = "operator killed"
    FREEZE = "operator frozen"
    API_SERVER = "API server restarted"
    CUT = "watches cut"
    ANSWER = "calls answered by a fault"


_WEIGHTS: dict[Fault, int] = {Fault.KILL: 3, Fault.FREEZE: 3, Fault.API_SERVER: 1, Fault.CUT: 3, Fault.ANSWER: 10}


@dataclass(frozen=True)
class Answer:
    """A response in place of the API server's.

    Attributes:
        method: of the requests that get it.
        part: substring of the paths of these requests; ``""`` is in every path.
        status: HTTP status; 0 closes the connection.
        times: number of requests that get it.
        after: whether the API server has executed the request, so that only the response is lost.
        reason: of the Status object.
        retry_after: value of the header in seconds; 0 to leave it out.
    """

    method: str
    part: str
    status: int
    times: int
    after: bool = False
    reason: str = ""
    retry_after: int = 0


@dataclass(frozen=True)
class PlannedFault:
    """One fault.

    Attributes:
        at: seconds since the run began.
        replica: index of the affected replica, or of the replica whose proxy is affected.
        seconds: duration, if the fault has one.
        gracefully: whether the API server is ended by SIGTERM.
    """

    at: float
    fault: Fault
    replica: int = 0
    seconds: float = 0.0
    gracefully: bool = False
    answer: Answer | None = None


def plan_faults(rng: random.Random, replicas: int, seconds: float) -> list[PlannedFault]:
    """Return the faults of a run of ``seconds``, in order."""
    found: list[PlannedFault] = []
    at, restarted = FIRST * seconds, -SECONDS_BETWEEN_API_SERVER_RESTARTS
    while (at := at + rng.expovariate(1 / MEAN_GAP_SECONDS)) < LAST * seconds:
        fault = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        replica = rng.randrange(replicas)
        if fault is Fault.API_SERVER:
            if at - restarted < SECONDS_BETWEEN_API_SERVER_RESTARTS:
                continue
            restarted = at
        if fault is Fault.KILL and at > SPARED_AFTER * seconds:
            replica = rng.randrange(1, replicas)
        found.append(_drawn(rng, at, fault, replica))
    return found


def _drawn(rng: random.Random, at: float, fault: Fault, replica: int) -> PlannedFault:
    if fault is Fault.KILL:
        return PlannedFault(at, fault, replica, rng.uniform(0.0, LONGEST_ABSENCE))
    if fault is Fault.FREEZE:
        return PlannedFault(at, fault, replica, rng.uniform(1.0, LONGEST_FREEZE))
    if fault is Fault.API_SERVER:
        return PlannedFault(at, fault, seconds=rng.uniform(0.0, 3.0), gracefully=rng.random() < 0.5)
    if fault is Fault.ANSWER:
        return PlannedFault(at, fault, replica, answer=_answer(rng))
    return PlannedFault(at, fault, replica)


def _answer(rng: random.Random) -> Answer:
    method, part = rng.choice(_CALLS)
    status = rng.choice((409, 429, 429, 500, 500, 503, 504, 0))
    if status == 409 and method == "GET":
        status = 410
    write = method != "GET"
    return Answer(
        method,
        part,
        status,
        times=rng.randrange(1, 6),
        after=write and status in (0, 500, 504) and rng.random() < 0.5,
        reason=_REASONS.get(status, ""),
        retry_after=rng.randrange(1, 4) if status == 429 else 0,
    )


_CALLS = (
    ("PATCH", "/status"),
    ("PATCH", "/status"),
    ("POST", "/jobs"),
    ("POST", "/jobs"),
    ("POST", "/services"),
    ("POST", "/events"),
    ("DELETE", "/jobs"),
    ("DELETE", "/maskrcnnexperiments"),
    ("GET", "/persistentvolumeclaims"),
    ("GET", "/jobs"),
    ("GET", "/pods"),
    ("GET", "/maskrcnnexperiments"),
    ("PUT", "/leases/"),
    ("GET", "/leases/"),
)
_REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 504: "Timeout"}
