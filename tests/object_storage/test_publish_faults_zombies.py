"""Attempts that are paused before a request, and wake while the next attempt trains, or after it has finished."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.object_storage.begun_steps import half_done
from tests.object_storage.fault_bench import POINTER, AtPlace, FaultBench, Place, Trial
from tests.object_storage.fault_table import FaultCase, FaultTable, run_cases
from tests.object_storage.forked_attempts import SECONDS, ForkedAttempt
from tests.object_storage.proxy import Fault
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.store_reader import seen

STEPS = 4
CLAIM = Place(POINTER, 1)
OPTIONS = ("--steps", str(STEPS), "--every", "1", "--in-step")


@dataclass
class Pause:
    """Pause of an attempt before the store gets a request.

    Attributes:
        trial: whose next attempt is paused.
        stops: whether its processes are stopped and the request is lost on its way; otherwise the proxy holds it.
    """

    trial: Trial
    stops: bool

    def __post_init__(self) -> None:
        self._reached = threading.Event()
        self._woken = threading.Event()
        self._attempt: ForkedAttempt | None = None

    def start(self, place: Place, attempt: int) -> ForkedAttempt:
        """Start an attempt, and return it once it is paused at a place."""

        def hold(_: object) -> None:
            self._reached.set()
            assert self._woken.wait(SECONDS)

        is_place = AtPlace(place, self.trial.step.prefix)
        self.trial.proxy.faults = [Fault(is_place, kept=hold) if self.stops else Fault(is_place, before=hold)]
        paused = self._attempt = self.trial.start(attempt, OPTIONS)
        assert self._reached.wait(SECONDS), f"the attempt didn't reach {place}:\n{paused.printed}"
        self.trial.proxy.faults = []
        if self.stops:
            paused.pause()
        return paused

    def wake(self) -> None:
        """Let the request pass, or let the processes continue without an answer to it."""
        assert self._attempt is not None
        if self.stops:
            self._attempt.resume()
        self._woken.set()


def wake_up(trial: Trial, place: Place, attempt: int, *, stops: bool, finished: bool) -> None:
    """Pause an attempt, wake it while or after the next one runs, and check that it ends and changes nothing.

    It ends with 75, or with 0 if it finds the result of the next one before it has claimed the step.

    Args:
        trial: of the attempts.
        place: request before which it is paused.
        attempt: its number.
        stops: see :class:`Pause`.
        finished: whether the next attempt has finished when it wakes.
    """
    pause = Pause(trial, stops)
    late = pause.start(place, attempt)
    published = seen(trial.step)
    release = trial.directory / "release"
    following = trial.start(attempt + 1, (*OPTIONS, "--hold-at", str(STEPS), "--release", str(release)))
    following.wait_until_it_holds()
    made = published.attempts + (attempt + 1,) * (STEPS - len(published.attempts))
    if finished:
        release.touch()
        trial.ends_right(following, made)
    before = seen(trial.step)
    pause.wake()
    code = late.wait()
    message = late.launch.message()
    if finished and place == CLAIM:
        assert (code, message["upToDate"]) == (0, True), f"the late attempt ended with {code}:\n{late.printed}"
    else:
        assert code == 75, f"the late attempt ended with {code}:\n{late.printed}"
        assert (message["error"]["reason"], message["error"]["laterAttempt"]) == ("Superseded", attempt + 1)
    after = seen(trial.step)
    assert after.published == before.published, "the late attempt has changed what is published"
    assert not finished or after == before, "the late attempt has changed the pointer"
    release.touch()
    trial.ends_right(following, made)


def woken_cases(bench: FaultBench, place: Place, begin: StepInStore | None, attempt: int) -> list[FaultCase]:
    """Return the cases of a place: both ways of pausing, and both times of waking."""

    def run(trial: Trial, stops: bool, finished: bool) -> None:
        wake_up(trial, place, attempt, stops=stops, finished=finished)

    return [
        FaultCase(
            f"{'SIGSTOP' if stops else 'held'}, woken {'after' if finished else 'while'} the next one runs",
            bench.case(partial(run, stops=stops, finished=finished), begin),
        )
        for stops, finished in itertools.product((True, False), (False, True))
    ]


def zombie_test(what: str, place: Place, *, takes_over: bool = False) -> Callable[[FaultBench, FaultTable], None]:
    """Return the test of a place."""

    def test(bench: FaultBench, fault_table: FaultTable) -> None:
        begin = half_done(bench, 1) if takes_over else None
        cases = woken_cases(bench, place, begin, 2 if takes_over else 1)
        run_cases(fault_table, "moto", f"zombie that wakes before {what}", cases)

    return test


test_zombie_before_its_first_claim = zombie_test("its claim of a new step", CLAIM)
test_zombie_before_its_take_over = zombie_test("its claim that takes over", CLAIM, takes_over=True)
test_zombie_before_its_put = zombie_test("its put", Place("PUT exp/train/o/1-*-model.step-2.tlt", 1))
test_zombie_before_its_pointer_write = zombie_test("its pointer write", Place(POINTER, 3))
test_zombie_before_its_delete = zombie_test("its delete", Place("DELETE exp/train/o/1-*-status.json", 1))
