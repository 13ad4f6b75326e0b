"""Requests whose answers are lost, that arrive late or twice, and storms of 503, at every request of an attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from tests.object_storage.attempt_host import Times
from tests.object_storage.begun_steps import OF_OTHER_MACHINE, TAKE_OVER, half_done
from tests.object_storage.fault_bench import (
    IN_PARTS,
    IN_STEP,
    POINTER,
    STEPS,
    AtPlace,
    FaultBench,
    Place,
    Trial,
    of_claim,
    of_publishes,
)
from tests.object_storage.fault_table import FaultCase, FaultTable, run_cases
from tests.object_storage.proxy import Answer, Fault, LateRequest, Request
from tests.object_storage.store_reader import seen

SLOW_DOWN = Answer(
    503, b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
)
AT_ONCE = Times(limit=0.0)
"""Policy by which each failure of a request is a failure of the publish."""


def cases_at(bench: FaultBench, places: Iterable[Place], run: Callable[[Trial, Place], None]) -> list[FaultCase]:
    """Return a case for each place."""

    def at(place: Place) -> FaultCase:
        return FaultCase(str(place), bench.case(lambda trial: run(trial, place)))

    return [at(place) for place in places]


def places_in(bench: FaultBench, options: Sequence[str] = IN_STEP) -> list[Place]:
    """Return the requests of an undisturbed first attempt."""
    with bench.trial() as trial:
        return trial.undisturbed(options=options)


@pytest.mark.parametrize("options", [IN_STEP, IN_PARTS], ids=["small", "in-parts"])
@pytest.mark.parametrize("fault", ["lost", "twice"])
def test_writes_whose_answers_are_lost_or_that_arrive_twice(
    bench: FaultBench, fault_table: FaultTable, fault: str, options: Sequence[str]
) -> None:
    places = [place for place in places_in(bench, options) if place.is_write]
    pointer_writes = sum(place.text == POINTER for place in places)
    in_parts = options is IN_PARTS
    if in_parts:
        places = [place for place in places if "model.step-3.tlt" in place.text]

    def disturb(trial: Trial, place: Place) -> None:
        put = trial.at(place, **{fault: True})
        found = trial.ends_right(trial.start(options=options))
        assert put.times == 0, "the request wasn't sent"
        assert found.seq == pointer_writes, f"{found.seq} writes of the pointer are in effect, not {pointer_writes}"

    what = {"lost": "answer lost after", "twice": "delivered twice:"}[fault]
    of = "an upload in parts" if in_parts else "a first attempt"
    run_cases(fault_table, "moto", f"{what} each of {len(places)} writes of {of}", cases_at(bench, places, disturb))


def deliver_late_writes(trial: Trial, place: Place, attempt: int = 1, **changes: Any) -> int:
    """Deliver a write of a killed attempt after the next one has claimed, published, and finished.

    Returns:
        number of deliveries; an attempt that finds the result publishes nothing.
    """
    late: list[LateRequest] = []
    before = trial.kill_at(place, passed_on=False, attempt=attempt, kept=late.append, **changes)

    def deliver(_: Request) -> None:
        found = seen(trial.step)
        late[0].deliver()
        assert seen(trial.step) == found, "a late write has changed what is published"

    faults = [trial.then_at(Place(POINTER, 1), after=deliver) for _ in range(2)]
    after = trial.finish(attempt + 1, before, **changes)
    assert faults[0].times == 0, "the next attempt has claimed nothing"
    late[0].deliver()
    assert seen(trial.step) == after, "a late write has changed the result"
    return 1 + sum(fault.times == 0 for fault in faults)


def test_late_writes_of_killed_attempt_change_nothing(bench: FaultBench, fault_table: FaultTable) -> None:
    places = [place for place in places_in(bench) if place.is_write]
    deliveries: list[int] = []
    cases = cases_at(bench, places, lambda trial, place: deliveries.append(deliver_late_writes(trial, place)))
    run_cases(fault_table, "moto", f"each of {len(places)} writes of a killed attempt, late three times", cases)
    assert deliveries.count(3) > len(places) / 2


CLAIMS: dict[str, dict[str, Any]] = {
    "that takes over": {"attempt": 2},
    "by another machine": {"attempt": 7, **OF_OTHER_MACHINE, **TAKE_OVER},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_with_late_lost_and_repeated_writes(bench: FaultBench, fault_table: FaultTable, name: str) -> None:
    """Claims of a step that another attempt has begun."""
    begin = half_done(bench)
    before = seen(begin)
    changes = CLAIMS[name]
    with bench.trial(begin) as trial:
        places = [place for place in of_claim(trial.undisturbed(**changes)) if place.is_write]

    def disturbed(trial: Trial, place: Place, fault: str) -> None:
        put = trial.at(place, **{fault: True})
        trial.finish(before=before, **changes)
        assert put.times == 0, "the request wasn't sent"

    cases = [
        FaultCase(f"{fault}: {place}", bench.case(partial(disturbed, place=place, fault=fault), begin))
        for fault in ("lost", "twice")
        for place in places
    ]
    cases += [
        FaultCase(f"late: {place}", bench.case(partial(_deliver_late, place=place, **changes), begin))
        for place in places
    ]
    run_cases(fault_table, "moto", f"{len(places)} writes of a claim {name} lost, twice, or late", cases)


def _deliver_late(trial: Trial, place: Place, **changes: Any) -> None:
    assert deliver_late_writes(trial, place, **changes) == 3


@dataclass(frozen=True)
class LateDelivery:
    """Way in which a write of a running attempt is late.

    Attributes:
        name: of the way, as the table shows it.
        times: of the attempt.
        before: pointer write before which it is delivered, counted from the late one on.
        status: of the store's answer if the late write is one of the pointer.
    """

    name: str
    times: Times
    before: int
    status: int


LATE_DELIVERIES = (
    LateDelivery("late before it is sent again", Times(), 1, 200),
    LateDelivery("late after it was sent again", Times(), 2, 412),
    LateDelivery("late after it was given up", AT_ONCE, 1, 200),
)


@pytest.mark.parametrize("way", LATE_DELIVERIES, ids=["before", "after", "given-up"])
def test_late_writes_of_running_attempt_are_adopted_or_refused(
    bench: FaultBench, fault_table: FaultTable, way: LateDelivery
) -> None:
    """The attempt's next write of the pointer is refused if the late one was in effect, and it adopts that one."""
    writes = [place for place in of_publishes(places_in(bench)) if place.is_write]
    last = max(place.count for place in writes if place.text == POINTER)
    places = [place for place in writes if place != Place(POINTER, last)]

    def disturb(trial: Trial, place: Place) -> None:
        of_pointer = place.text == POINTER
        late: list[LateRequest] = []
        answers: list[int] = []
        trial.at(place, kept=late.append)
        delivery = trial.then_at(
            Place(POINTER, way.before if of_pointer else 1), before=lambda _: answers.append(late[0].deliver().status)
        )
        trial.ends_right(trial.start(times=way.times))
        assert delivery.times == 0, "the late request wasn't delivered"
        assert not of_pointer or answers == [way.status]

    cases = cases_at(bench, places, disturb)
    run_cases(fault_table, "moto", f"each of {len(places)} writes of a publish {way.name}", cases)


def test_short_storms_pass(bench: FaultBench, fault_table: FaultTable) -> None:
    places = places_in(bench)

    def disturb(trial: Trial, place: Place) -> None:
        trial.proxy.faults = [Fault(_FromPlace(place, trial.step.prefix), times=6, answer=SLOW_DOWN)]
        trial.ends_right(trial.start())
        assert trial.proxy.faults[0].times == 0

    cases = cases_at(bench, places, disturb)
    run_cases(fault_table, "moto", f"six answers 503 from each of {len(places)} requests on", cases)


def test_storms_longer_than_the_policy_end_a_claim_with_75(bench: FaultBench, fault_table: FaultTable) -> None:
    places = of_claim(places_in(bench))

    def disturb(trial: Trial, place: Place) -> None:
        trial.proxy.faults = [Fault(_FromPlace(place, trial.step.prefix), times=None, answer=SLOW_DOWN)]
        attempt = trial.start(times=Times(limit=0.3))
        code = attempt.wait()
        assert code == 75, attempt.printed
        assert attempt.launch.message()["error"]["reason"] == "StoreUnavailable"
        trial.proxy.faults = []
        trial.finish(2, seen(trial.step))

    cases = cases_at(bench, places, disturb)
    run_cases(fault_table, "moto", f"503 from each of {len(places)} requests of a claim to the end", cases)


def test_storms_longer_than_the_policy_end_no_training(bench: FaultBench, fault_table: FaultTable) -> None:
    """A publish fails again and again for longer than its policy; the training waits for no result of it."""
    places = of_publishes(places_in(bench))

    def disturb(trial: Trial, place: Place) -> None:
        storm = _FromPlace(place, trial.step.prefix, seconds=1.0)
        trial.proxy.faults = [Fault(storm, times=None, answer=SLOW_DOWN)]
        trial.ends_right(trial.start(times=Times(limit=0.1)))
        assert storm.has_begun

    cases = cases_at(bench, places, disturb)
    run_cases(fault_table, "moto", f"503 for ten times the policy from each of {len(places)} requests on", cases)


@pytest.mark.parametrize("last", range(1, STEPS + 1))
def test_storms_to_the_end_of_an_attempt_leave_what_was_published(
    bench: FaultBench, fault_table: FaultTable, last: int
) -> None:
    """The publish at the end is given up with 75, and the next attempt continues from the last one before it."""
    found = places_in(bench)
    # each manifest is followed by the pointer write that publishes it
    manifests = [
        number for number, place in enumerate(found) if place.text.endswith("manifest.json") and place.is_upload
    ]
    places = [place for place in found[manifests[last - 1] + 2 : manifests[last] + 2] if place.is_write]

    def disturb(trial: Trial, place: Place) -> None:
        trial.proxy.faults = [Fault(_FromPlace(place, trial.step.prefix), times=None, answer=SLOW_DOWN)]
        # it waits for the publishes before the storm only
        options = ("--steps", str(STEPS), "--every", "1", "--in-step", "--in-step-until", str(last))
        attempt = trial.start(options=options, times=Times(limit=0.1, last_publish=0.5))
        code = attempt.wait()
        assert code == 75, attempt.printed
        before = seen(trial.step)
        assert not before.is_complete
        assert attempt.launch.message()["error"]["reason"] in ("StoreUnavailable", "NotPublished")
        trial.proxy.faults = []
        trial.finish(2, before)

    cases = cases_at(bench, places, disturb)
    run_cases(fault_table, "moto", f"503 from the writes after publish {last} to the end of the attempt", cases)


class _FromPlace:
    """Condition that all requests meet from that of a place on, for a time."""

    def __init__(self, place: Place, prefix: str, seconds: float = float("inf")) -> None:
        self._is_place = AtPlace(place, prefix)
        self._seconds = seconds
        self._began: float | None = None

    @property
    def has_begun(self) -> bool:
        """Return whether the request of the place has arrived."""
        return self._began is not None

    def __call__(self, request: Request) -> bool:
        if self._began is None and self._is_place(request):
            self._began = time.monotonic()
        return self._began is not None and time.monotonic() - self._began < self._seconds
