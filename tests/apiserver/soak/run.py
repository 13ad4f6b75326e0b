"""Run of a soak: arrivals, user actions, faults, hostile objects and samples, each at its time."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tests.apiserver.bed import Bed
from tests.apiserver.invariants import End, MemorySample, ends_of
from tests.apiserver.rest import APPLY_PATCH, JSON, RestError
from tests.apiserver.runtime.proxy import Fault as ProxyFault
from tests.apiserver.runtime.proxy import Proxy
from tests.apiserver.soak import faults, hostile
from tests.apiserver.soak.faults import Fault, PlannedFault
from tests.apiserver.soak.load import Act, Planned
from tests.apiserver.soak.observer import Observer
from tests.apiserver.soak.replicas import Replica, UnaskedEnd

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.05
LOOK_SECONDS = 1.0
REPORT_SECONDS = 30.0
MEMORY_SECONDS = 2.0
PROGRESS_SECONDS = 0.5
HOSTILE_SECONDS = 45.0
FAULT_SECONDS = 15.0
"""Time in which an injected fault affects requests, if it isn't used up earlier."""
RETRY_SECONDS = 1.0
PATIENCE_SECONDS, PATIENCE_SHARE = 60.0, 0.1
"""Time to wait for unfinished experiments after the run: these seconds plus this fraction of the run."""

PROGRESS_MANAGER = "maskrcnn-operator-progress"


@dataclass
class Counts:
    """Numbers of faults, hostile objects, progress writes and user actions of a run."""

    faults: Counter[Fault] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    hostile: Counter[str] = field(default_factory=Counter)
    progress_writes: int = 0
    acts: int = 0


class Soak:
    """One run. Its methods must be called by one thread.

    Args:
        bed: the control plane.
        replicas: of the operator.
        proxies: the one of each replica.
        observer: of the history.
        load: experiments in the order of their arrival.
        planned_faults: in order.
        seconds: duration of the run.
        hostile_in: namespace of hostile objects; None for a run without them.
        rng: for the hostile objects.
    """

    def __init__(
        self,
        bed: Bed,
        replicas: Sequence[Replica],
        proxies: Sequence[Proxy],
        observer: Observer,
        *,
        load: Sequence[Planned],
        planned_faults: Sequence[PlannedFault],
        seconds: float,
        hostile_in: str | None,
        rng: random.Random,
    ) -> None:
        self._bed, self._replicas, self._proxies, self._observer = bed, replicas, proxies, observer
        self._load, self._faults, self._seconds = load, planned_faults, seconds
        self._hostile_in, self._rng = hostile_in, rng
        self.stop = False
        """Set it to true to end :meth:`run` soon."""
        self.counts = Counts()
        self.memory: list[MemorySample] = []
        self.unasked: list[UnaskedEnd] = []
        self.created: dict[str, Planned] = {}
        """Experiments that were created, by ``namespace/name``."""
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._answers: list[tuple[float, Proxy, ProxyFault]] = []
        self._began = time.monotonic()

    @property
    def expected(self) -> dict[str, End]:
        """Return the expected end of each created experiment."""
        return {name: planned.end for name, planned in self.created.items()}

    def run(self) -> float:
        """Run until the time is over and all experiments have ended, or waiting times out; return the seconds taken."""
        self._began = time.monotonic()
        for planned in self._load:
            self._at(planned.at, partial(self._create, planned))
        for fault in self._faults:
            self._at(fault.at, partial(self._inject, fault))
        self._every(MEMORY_SECONDS, self._sample_memory)
        self._every(PROGRESS_SECONDS, self._write_progress)
        self._every(REPORT_SECONDS, self._report)
        if self._hostile_in is not None:
            self._every(HOSTILE_SECONDS, self._create_hostile)
            self._at(0.0, self._create_hostile)
        last = self._seconds + PATIENCE_SECONDS + PATIENCE_SHARE * self._seconds
        looked = 0.0
        while not self.stop and self.now < last:
            self._tick()
            if self.now > faults.LAST * self._seconds and self.now - looked > LOOK_SECONDS:
                looked = self.now
                if len(self.created) == len(self._load) and not self.underway():
                    break
            time.sleep(TICK_SECONDS)
        self._report()
        return self.now

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def underway(self) -> list[str]:
        """Return the experiments that have not ended as expected."""
        ends = ends_of(list(self._observer.experiments.values()))
        return [name for name, end in self.expected.items() if ends.get(name, (None, ""))[0] is not end]

    def _tick(self) -> None:
        while self._agenda and self._agenda[0][0] <= self.now and not self.stop:
            heapq.heappop(self._agenda)[2]()
        for replica in self._replicas:
            ended = replica.tend()
            if ended is not None:
                if ended.how not in {earlier.how for earlier in self.unasked}:
                    _print(f"{self.now:5.0f} s: {ended.process} ended unexpectedly ({ended.code}): {ended.log}")
                self.unasked.append(ended)
        for entry in [entry for entry in self._answers if entry[0] <= self.now]:
            self._answers.remove(entry)
            self._take_back(entry[1], entry[2])

    def calm(self) -> None:
        """Resume all processes, and remove all faults."""
        for replica in self._replicas:
            replica.thaw()
        for _, proxy, fault in self._answers:
            self._take_back(proxy, fault)
        self._answers.clear()

    def _at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (moment, next(self._numbers), action))

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def again() -> None:
            self._at(self.now + seconds, again)
            action()

        self._at(seconds, again)

    def _call(self, method: str, path: str, body: Any, then: Callable[[], None] = lambda: None) -> None:
        """Make a user's request; retry while the API server fails."""

        def attempt() -> None:
            try:
                self._bed.api(method, path, body)
            except RestError as error:
                if error.status == 409 and method == "POST":
                    then()  # an earlier attempt has succeeded
                elif error.status >= 500 or error.status == 429:
                    self._at(self.now + RETRY_SECONDS, attempt)
                else:
                    logger.warning("%s %s: %s", method, path, error)
            except OSError:
                self._at(self.now + RETRY_SECONDS, attempt)
            else:
                then()

        attempt()

    def _create(self, planned: Planned) -> None:
        def created() -> None:
            self.created[planned.name] = planned
            for act in planned.acts:
                self._at(self.now + act.after, partial(self._act, planned, act))

        self._call("POST", hostile.EXPERIMENTS.format(planned.namespace), planned.manifest, created)

    def _act(self, planned: Planned, act: Act) -> None:
        self.counts.acts += 1
        path = f"{hostile.EXPERIMENTS.format(planned.namespace)}/{planned.manifest['metadata']['name']}"
        if act.patch is None:
            options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
            self._call("DELETE", path, options)
        else:
            self._call("PATCH", path, {"spec": act.patch})

    def _inject(self, planned: PlannedFault) -> None:
        replica, proxy = self._replicas[planned.replica], self._proxies[planned.replica]
        if planned.fault in (Fault.KILL, Fault.FREEZE) and not replica.running:
            return
        self.counts.faults[planned.fault] += 1
        if planned.fault is Fault.KILL:
            replica.kill(planned.seconds)
        elif planned.fault is Fault.FREEZE:
            replica.freeze(planned.seconds)
        elif planned.fault is Fault.CUT:
            proxy.cut_watches()
        elif planned.fault is Fault.API_SERVER:
            self._bed.stop_apiserver(grace=20.0 if planned.gracefully else 0.0)
            time.sleep(planned.seconds)
            self._bed.start_apiserver()
        elif planned.answer is not None:
            answer = planned.answer
            headers = {"Retry-After": str(answer.retry_after)} if answer.retry_after else {}
            fault = proxy.fault(
                answer.method,
                answer.part,
                answer.status,
                times=answer.times,
                after=answer.after,
                reason=answer.reason,
                headers=headers,
            )
            self._answers.append((self.now + FAULT_SECONDS, proxy, fault))

    def _take_back(self, proxy: Proxy, fault: ProxyFault) -> None:
        fault.times = 0
        proxy.faults.remove(fault)
        if fault.seen:
            self.counts.answers[fault.status] += fault.seen

    def _create_hostile(self) -> None:
        """Replace the hostile objects with new ones, so that their number doesn't grow."""
        assert self._hostile_in is not None
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        for path in (hostile.PODS, hostile.JOBS, hostile.EXPERIMENTS):
            with contextlib.suppress(OSError, RestError):
                self._bed.api("DELETE", path.format(self._hostile_in), options)
        for item in hostile.hostile_objects(self._rng):
            try:
                self._bed.rest.call("POST", item.path.format(self._hostile_in), item.body.encode(), JSON)
                outcome = "accepted"
            except RestError:
                outcome = "refused"
            except OSError:
                outcome = "not sent"
            self.counts.hostile[outcome] += 1
            logger.info("%s: %s", item.what, outcome)

    def _sample_memory(self) -> None:
        found = (replica.memory(self.now) for replica in self._replicas)
        self.memory += [sample for sample in found if sample is not None]

    def _write_progress(self) -> None:
        """Write the progress of every long training as the operator does, but more often."""
        for name, planned in self.created.items():
            fact = self._observer.experiments.get(name) if planned.progress else None
            if fact is None or fact.gone or not any(s.name == "train" and s.state == "Running" for s in fact.steps):
                continue
            progress = {
                "step": "train",
                "iteration": self.counts.progress_writes,
                "lastUpdatedTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            namespace, _, own = name.partition("/")
            body = {
                "apiVersion": "maskrcnn.dev/v1alpha1",
                "kind": "MaskRCNNExperiment",
                "metadata": {"namespace": namespace, "name": own},
                "status": {"progress": progress},
            }
            path = f"{hostile.EXPERIMENTS.format(namespace)}/{own}/status"
            try:
                self._bed.api("PATCH", f"{path}?fieldManager={PROGRESS_MANAGER}&force=true", body, APPLY_PATCH)
            except (OSError, RestError) as error:
                logger.info("Writing the progress of %s failed: %s", name, error)
            else:
                self.counts.progress_writes += 1

    def _report(self) -> None:
        left = len(self.underway())
        memory = ", ".join(
            f"{sample.process} {sample.resident / 2**20:.0f} MiB" for sample in self.memory[-len(self._replicas) :]
        )
        faults_so_far = sum(self.counts.faults.values())
        _print(
            f"{self.now:5.0f} s: {len(self.created) - left} of {len(self.created)} experiments have ended "
            f"({len(self._load)} planned), {faults_so_far} faults, {memory}"
        )


def _print(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
