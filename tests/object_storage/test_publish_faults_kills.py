"""kill -9 before and after every request of a claim and of a publish: nothing published is lost, and nothing is torn.

The requests of an undisturbed attempt are counted first, so that none is left out. After each kill an independent
reader checks all that the store has, and the next attempt, with an empty working directory, continues from it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pytest
from tests.object_storage.begun_steps import OF_OTHER_MACHINE, TAKE_OVER, edited_step, half_done
from tests.object_storage.fault_bench import (
    IN_PARTS,
    IN_STEP,
    OTHER_FINGERPRINT,
    POINTER,
    STEPS,
    FaultBench,
    Place,
    Trial,
    of_claim,
)
from tests.object_storage.fault_table import FaultCase, FaultTable, run_cases
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.stand_in_task import FINGERPRINT
from tests.object_storage.store_reader import seen


def kills_at(
    bench: FaultBench,
    places: Iterable[Place],
    begin: StepInStore | None = None,
    *,
    attempt: int = 1,
    options: Sequence[str] = IN_STEP,
    **changes: Any,
) -> list[FaultCase]:
    """Return the cases of kills before and after requests of an attempt, each continued by the next attempt."""

    def kill(trial: Trial, place: Place, passed_on: bool) -> None:
        before = trial.kill_at(place, passed_on=passed_on, attempt=attempt, options=options, **changes)
        trial.finish(attempt + 1, before, options, **changes)

    return [
        FaultCase(
            f"{'after' if passed_on else 'before'} {place}",
            bench.case(partial(kill, place=place, passed_on=passed_on), begin),
        )
        for place, passed_on in itertools.product(places, (False, True))
    ]


def test_kills_during_first_attempt(bench: FaultBench, fault_table: FaultTable) -> None:
    with bench.trial() as trial:
        places = trial.undisturbed()
    texts = [place.text for place in places]
    assert texts.count("PUT exp/probe-*-0") == 4, "the claim doesn't contain the probe"
    assert texts.count("PUT exp/train/o/1-*-manifest.json") == STEPS + 1, "there are other publishes than expected"
    assert any(text.startswith("DELETE exp/train/o/") for text in texts), "nothing is cleaned"
    cases = kills_at(bench, places)
    assert len(cases) == 2 * len(places)
    run_cases(fault_table, "moto", f"kill -9 at each of {len(places)} requests of a first attempt", cases)


def test_kills_during_take_over(bench: FaultBench, fault_table: FaultTable) -> None:
    begin = half_done(bench)
    with bench.trial(begin) as trial:
        places = of_claim(trial.undisturbed(attempt=2))
    texts = [place.text for place in places]
    assert POINTER in texts, "nothing is claimed"
    assert any(text.endswith("model.step-2.tlt") for text in texts), "nothing is restored"
    cases = kills_at(bench, places, begin, attempt=2)
    run_cases(fault_table, "moto", f"kill -9 at each of {len(places)} requests of a claim that takes over", cases)


def test_kills_during_take_over_from_another_machine(bench: FaultBench, fault_table: FaultTable) -> None:
    begin = half_done(bench)
    of_second: dict[str, Any] = {**OF_OTHER_MACHINE, **TAKE_OVER}
    with bench.trial(begin) as trial:
        places = of_claim(trial.undisturbed(attempt=7, **of_second))
    assert Place("PUT exp/owner.json", 1) in places
    cases = kills_at(bench, places, begin, attempt=7, **of_second)
    run_cases(fault_table, "moto", f"kill -9 at each of {len(places)} requests of a claim by another machine", cases)


def test_kills_during_swap_to_finished_fingerprint(bench: FaultBench, fault_table: FaultTable) -> None:
    begin = edited_step(bench)

    def check(trial: Trial) -> None:
        found = seen(trial.step)
        assert found.current is not None
        assert found.current.fingerprint == FINGERPRINT
        assert found.previous is not None
        assert (found.previous.fingerprint, found.previous.is_complete) == (OTHER_FINGERPRINT, True)

    def kill(trial: Trial, place: Place, passed_on: bool) -> None:
        trial.kill_at(place, passed_on=passed_on, attempt=3)
        again = trial.start(4)
        assert again.wait() == 0, again.printed
        assert again.launch.message()["upToDate"]
        check(trial)

    with bench.trial(begin) as trial:
        trial.proxy.forget()
        attempt = trial.start(3)
        assert attempt.wait() == 0, attempt.printed
        check(trial)
        places = trial.places()
    assert Place(POINTER, 1) in places
    cases = [
        FaultCase(
            f"{'after' if passed_on else 'before'} {place}",
            bench.case(partial(kill, place=place, passed_on=passed_on), begin),
        )
        for place, passed_on in itertools.product(places, (False, True))
    ]
    run_cases(fault_table, "moto", f"kill -9 at each of {len(places)} requests of a swap back", cases)


def test_kills_during_upload_in_parts(bench: FaultBench, fault_table: FaultTable) -> None:
    with bench.trial() as trial:
        places = trial.undisturbed(options=IN_PARTS)
    parts = [place for place in places if place.text.startswith(("PUT", "POST")) and "model.step-3.tlt" in place.text]
    assert len(parts) == 4, f"the checkpoint isn't uploaded in two parts: {parts}"
    cases = kills_at(bench, parts, options=IN_PARTS)
    run_cases(fault_table, "moto", f"kill -9 at each of {len(parts)} requests of an upload in parts", cases)


@pytest.mark.parametrize("passed_on", [False, True], ids=["before", "after"])
def test_kill_at_publish_on_each_server(each_bench: FaultBench, fault_table: FaultTable, passed_on: bool) -> None:
    """The claim and a publish by the first attempt, and those by the next one, run on each server."""
    place = Place(POINTER, 3)
    server = each_bench.store.server.name
    where = "after" if passed_on else "before"

    def kill(trial: Trial) -> None:
        before = trial.kill_at(place, passed_on=passed_on)
        assert before.attempts == ((1, 1) if passed_on else (1,))
        trial.finish(2, before)

    cases = [FaultCase(str(place), each_bench.case(kill))]
    run_cases(fault_table, server, f"kill -9 {where} the second publish, and the next attempt", cases)
