"""Trials of attempts with faults: a step of its own in the store, a proxy in front of it, and attempts at it."""

from __future__ import annotations

import itertools
import queue
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.object_storage.attempt_host import Times
from tests.object_storage.forked_attempts import AttemptHost, ForkedAttempt
from tests.object_storage.proxy import Fault, FaultProxy, LateRequest, Passed, Request, proxy_to
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.stand_in_task import StandInLaunch
from tests.object_storage.store_reader import SeenStep, seen
from tests.object_storage.user_stores import UserStore

from maskrcnn_trainer.object_store.helper_writes import UPLOAD_PART

STEPS = 3
IN_STEP = ("--steps", str(STEPS), "--every", "1", "--in-step")
"""Training of three steps with a checkpoint each, which waits until each is published."""
IN_PARTS = ("--steps", str(STEPS), "--every", str(STEPS), "--in-step", "--size", str(UPLOAD_PART + 1000))
"""The same with one checkpoint, which is uploaded in two parts."""
POINTER = "PUT exp/train/run.json"
"""Text of the place of each write of the pointer."""
OTHER_FINGERPRINT = "fedcba9876543210fedcba9876543210-v1"
_WRITTEN_ONCE = re.compile(r"/o/([0-9]+)-[0-9a-z]+-[0-9]+-")
_PROBE = re.compile(r"probe-[0-9a-z]+-")


@dataclass(frozen=True)
class Place:
    """Request of an attempt.

    Attributes:
        text: method and key without the random parts.
        count: number among the attempt's requests with this text, from 1.
    """

    text: str
    count: int

    def __str__(self) -> str:
        return f"{self.text} ({self.count})"

    @property
    def is_write(self) -> bool:
        """Return whether the request changes the store."""
        return self.text.startswith(("PUT", "POST", "DELETE"))

    @property
    def is_upload(self) -> bool:
        """Return whether the request writes an object of a publish, other than the pointer."""
        return self.text.startswith(("PUT", "POST")) and "/o/" in self.text


def text_of(request: Request, prefix: str) -> str:
    """Return the method and the key of a request without its random parts."""
    if request.is_list:
        return f"LIST {request.query['prefix'].removeprefix(f'{prefix}/')}"
    key = _PROBE.sub("probe-*-", _WRITTEN_ONCE.sub(r"/o/\1-*-", request.key.removeprefix(f"{prefix}/")))
    part = request.query.get("partNumber")
    phase = f" part {part}" if part else " begin" if "uploads" in request.query else ""
    return f"{request.method} {key}{phase}"


def places_of(passed: Iterable[Passed], prefix: str) -> list[Place]:
    """Return the places of requests, in their order."""
    counts: Counter[str] = Counter()
    places = []
    for one in passed:
        text = text_of(one.request, prefix)
        counts[text] += 1
        places.append(Place(text, counts[text]))
    return places


def of_claim(places: Sequence[Place]) -> list[Place]:
    """Return the requests of a claim, and of the restoring of what is published."""
    return list(itertools.takewhile(lambda place: not place.is_upload, places))


def of_publishes(places: Sequence[Place]) -> list[Place]:
    """Return the requests that follow the claim."""
    return list(places[len(of_claim(places)) :])


class AtPlace:
    """Condition that the request of a place meets, once; the proxy asks it about one request after the other."""

    def __init__(self, place: Place, prefix: str) -> None:
        self._place = place
        self._prefix = prefix
        self._count = 0

    def __call__(self, request: Request) -> bool:
        if text_of(request, self._prefix) != self._place.text:
            return False
        self._count += 1
        return self._count == self._place.count


@dataclass
class Trial:
    """A step, a proxy, and attempts at the step.

    Attributes:
        step: in the store.
        proxy: through which the attempts reach it.
        host: that forks them.
        directory: for their files.
    """

    step: StepInStore
    proxy: FaultProxy
    host: AttemptHost
    directory: Path
    _started: queue.SimpleQueue[ForkedAttempt] = field(default_factory=queue.SimpleQueue)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(
        self, attempt: int = 1, options: Sequence[str] = IN_STEP, *, times: Times | None = None, **changes: Any
    ) -> ForkedAttempt:
        """Start an attempt with an empty working directory.

        Args:
            attempt: its number.
            options: of the stand-in task.
            times: default: short ones.
            changes: of the :class:`StandInLaunch`.
        """
        directory = self.directory / f"start-{next(self._numbers)}"
        directory.mkdir()
        store = replace(self.step.store, directory=directory)
        launch = StandInLaunch(
            self.step.url,
            store.config(self.proxy.url),
            directory,
            attempt=attempt,
            working_dir=directory / "work",
            options=tuple(options),
        )
        started = self.host.start(replace(launch, **changes), times)
        self._started.put(started)
        return started

    def ends_right(self, attempt: ForkedAttempt, made: Sequence[int] = (1,) * STEPS) -> SeenStep:
        """Wait until an attempt ends with 0, and return the published result of steps that the given attempts made."""
        code = attempt.wait()
        assert code == 0, f"attempt {attempt.launch.attempt} ended with {code}:\n{attempt.printed}"
        found = seen(self.step)
        assert found.is_complete, "the attempt ended with 0 without a published result"
        assert found.attempts == tuple(made), f"the steps were made by the attempts {found.attempts}, not {tuple(made)}"
        return found

    def finish(self, attempt: int, before: SeenStep, options: Sequence[str] = IN_STEP, **changes: Any) -> SeenStep:
        """Run an attempt to its end, which continues from what was published before, and return what it has left."""
        made = before.attempts + (attempt,) * (STEPS - len(before.attempts))
        return self.ends_right(self.start(attempt, options, **changes), made)

    def undisturbed(self, attempt: int = 1, options: Sequence[str] = IN_STEP, **changes: Any) -> list[Place]:
        """Run an attempt to its end, and return its requests."""
        self.proxy.forget()
        self.finish(attempt, seen(self.step), options, **changes)
        return self.places()

    def places(self) -> list[Place]:
        """Return the places of the requests that the proxy has seen."""
        return places_of(self.proxy.passed, self.step.prefix)

    def at(self, place: Place, **fault: Any) -> Fault:
        """Put a fault at a place of the next attempt, in place of all others, and return it."""
        chosen = Fault(AtPlace(place, self.step.prefix), **fault)
        self.proxy.faults = [chosen]
        return chosen

    def then_at(self, place: Place, **fault: Any) -> Fault:
        """Put another fault at a place, counted from the request on that has used up the faults before."""
        earlier, is_place = tuple(self.proxy.faults), AtPlace(place, self.step.prefix)
        following = Fault(lambda request: all(one.times == 0 for one in earlier) and is_place(request), **fault)
        self.proxy.faults = [*earlier, following]
        return following

    def kill_at(
        self,
        place: Place,
        *,
        passed_on: bool,
        attempt: int = 1,
        kept: Callable[[LateRequest], None] = lambda _: None,
        **changes: Any,
    ) -> SeenStep:
        """Kill an attempt when a request of it arrives, and return what is published then.

        Args:
            place: of the request.
            passed_on: whether the store carries the request out before the kill.
            attempt: number of the attempt.
            kept: gets the request that isn't passed on.
            changes: see :meth:`start`.
        """

        def kill(request: Request | LateRequest) -> None:
            if isinstance(request, LateRequest):
                kept(request)
            self._started.get().send_kill()

        # an answer of a killed process has no reader: the connection is reset
        fault = self.at(place, after=kill, lost=True) if passed_on else self.at(place, kept=kill)
        while not self._started.empty():
            self._started.get()
        started = self.start(attempt, **changes)
        code = started.wait()
        assert (code, fault.times) == (-9, 0), f"it ended with {code} before its request {place}:\n{started.printed}"
        self.proxy.faults = []
        started.wait_until_gone()
        return seen(self.step)


@dataclass(frozen=True)
class FaultBench:
    """Source of trials in one container.

    Attributes:
        store: the container.
        host: of attempts.
        directory: for the files of all trials.
    """

    store: UserStore
    host: AttemptHost
    directory: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def trial(self, begin: StepInStore | None = None) -> Iterator[Trial]:
        """Return a trial whose step begins with the objects of another one; default: with none."""
        with self._lock:
            prefix = f"trial-{next(self._numbers)}"
        directory = self.directory / prefix
        directory.mkdir()
        step = StepInStore(self.store, prefix)
        if begin is not None:
            for key in sorted(begin.keys_below(begin.experiment)):
                step.write(key, begin.read(key))
        server = self.store.server
        with proxy_to(server.address, server.root(self.store.container)) as proxy:
            yield Trial(step, proxy, self.host, directory)
            assert not proxy.problems, f"a fault has failed: {proxy.problems[0]!r}"

    def case(self, run: Callable[[Trial], None], begin: StepInStore | None = None) -> Callable[[], None]:
        """Return the function that runs a case in a trial of its own."""

        def in_trial() -> None:
            with self.trial(begin) as trial:
                run(trial)

        return in_trial
