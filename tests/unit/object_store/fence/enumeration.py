"""Enumeration of all interleavings of some processes with an in-memory store, breadth first, and its invariants.

How a request can fare, each fault at the cost of one of the scenario's: it is answered; carried out, and the answer
is lost; given up, and carried out later or never; carried out, and a copy of it later or never. A process can pause for
ever at any place, crash and start again with a new token, or start again after exit code 75. An object's version is
its content, as an S3 etag is.

Equal values are one number (`Numbers`): the decisions of the product run once for each pair of state and answer.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.unit.object_store.fence.processes import (
    KEYS,
    RESTARTED,
    Actor,
    Event,
    ProcessState,
    started,
    stepped,
)
from tests.unit.object_store.fence.worlds import Broken, LatePut, Past, World, WorldStore

from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DeleteKeys,
    FenceAnswer,
    FenceReply,
    FenceRequest,
    FetchFiles,
    GetRecord,
    ListKeys,
    PutFiles,
    PutRecord,
    UpdateRecord,
    UploadedKeys,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.records import (
    ObjectVersion,
    OwnerRecord,
    StepPointer,
)

Seen = dict[tuple[int, ...], tuple[tuple[int, ...], tuple[Any, ...]] | None]
"""Visited states, each with the one before it and the label of the step between them."""


@dataclass
class Found:
    """Outcome of an enumeration.

    Attributes:
        states: number of them.
        seconds: that it took.
        whole: whether all were visited.
        broken: the first broken invariant.
        trace: of the steps to it.
    """

    states: int
    seconds: float
    whole: bool
    broken: str | None = None
    trace: list[str] = field(default_factory=list)

    @property
    def invariant(self) -> str | None:
        """Number of the broken invariant."""
        return self.broken.split(" ", 1)[0] if self.broken else None


class Enumeration(WorldStore):
    """All states of some processes.

    Args:
        actors: the processes.
        faults: number of requests that fare badly.
        crashes: number of crashes and starts after exit code 75.
        pointer: content at the start.
        owner: content at the start.
        objects: contents by key at the start.
        late_deletes: whether each deletion is carried out at any later time or never, at no cost.
        prune: whether late requests that can't have an effect are dropped.
        compare: whether the store compares versions.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        faults: int = 1,
        crashes: int = 0,
        *,
        pointer: StepPointer | None = None,
        owner: OwnerRecord | None = None,
        objects: dict[str, Hashable] | None = None,
        late_deletes: bool = False,
        prune: bool = True,
        compare: bool = True,
    ) -> None:
        super().__init__(compare=compare)
        self.actors = actors
        self.late_deletes = late_deletes
        self.prune = prune
        self._after: dict[tuple[int, int, int], tuple[int, tuple[Event, ...]]] = {}
        self._fares: dict[int, FenceRequest] = {}
        self._good: set[tuple[int, int, frozenset[int], int, int]] = set()
        self._followed: set[tuple[int, int, frozenset[int], int, int]] = set()
        number = self.numbers.of
        stored = frozenset(number(pair) for pair in (objects or {}).items())
        processes = tuple(number(started(actor, 1)) for actor in actors)
        world = World(0, number(owner), stored, frozenset(), processes, number(Past()), faults, crashes)
        if pointer is not None:
            world = self._pointer_written(world, pointer)
            for slot in pointer.slots:
                world = self._learn(world, Event("reported", slot.manifest))
        self.first = world

    # ---------------------------------------------------------------- steps

    def ways(self, world: World, request: FenceRequest) -> Iterator[tuple[str, World, FenceAnswer]]:
        """Yield the ways in which a request can fare."""
        if isinstance(request, DeleteKeys) and self.late_deletes:
            yield "on its way", self._later(world, request), FenceReply.UNANSWERED
            return
        after, answer = self.carry_out(world, request)
        yield "", after, answer
        if world.faults == 0 or isinstance(request, GetRecord | ListKeys | FetchFiles):
            return
        if not (isinstance(answer, WrittenRecord | UploadedKeys) or answer is FenceReply.DELETED):
            return
        less = after._replace(faults=world.faults - 1)
        given_up = world._replace(faults=world.faults - 1)
        if isinstance(request, PutFiles):
            for file in request.files:
                rest = UploadedKeys(frozenset(other.key for other in request.files) - {file.key})
                put = LatePut(file.key, file.sha256)
                yield f"answer of {file.key} lost", less, rest
                yield f"copy of {file.key} on its way", self._later(less, put), answer
                without = self._removed(less, (file.key,)) if self._content(world.objects, file.key) is None else less
                yield f"{file.key} on its way", self._later(without, put), rest
            return
        late = LatePut(request.key, request.body) if isinstance(request, PutRecord) else request
        yield "answer lost", less, FenceReply.UNANSWERED
        yield "copy on its way", self._later(less, late), answer
        yield "on its way", self._later(given_up, late), FenceReply.UNANSWERED

    def _later(self, world: World, request: FenceRequest | LatePut) -> World:
        return world._replace(late=world.late | {self.numbers.of(request)})

    def _request(self, process: int) -> FenceRequest:
        request = self._fares.get(process)
        if request is None:
            request = self._fares[process] = self.value[process].decision.request
        return request

    def deliver(self, world: World, place: int, answer: FenceAnswer) -> World:
        """Return the world after a process got an answer."""
        actor = self.actors[place]
        while True:
            process = world.processes[place]
            key = (place, process, self.numbers.of(answer))
            if key not in self._after:
                try:
                    state, events = stepped(actor, self.value[process], answer)
                except (AssertionError, ValueError, KeyError) as error:
                    raise Broken(f"9 {type(error).__name__}: {error}") from error
                self._after[key] = (self.numbers.of(state), events)
            number, events = self._after[key]
            for event in events:
                world = self._learn(world, event)
            world = self._with_process(world, place, number)
            if self.value[number].end or not (actor.merge and self._is_merged(number)):
                return world
            world, answer = self.carry_out(world, self._request(number))

    def _is_merged(self, process: int) -> bool:
        request = self._request(process)
        return isinstance(request, PutFiles | PutRecord) or (
            isinstance(request, GetRecord) and request.key not in (KEYS.pointer, KEYS.owner)
        )

    @staticmethod
    def _with_process(world: World, place: int, process: int) -> World:
        return world._replace(processes=(*world.processes[:place], process, *world.processes[place + 1 :]))

    def successors(self, world: World) -> Iterator[tuple[tuple[Any, ...], World | Broken]]:
        """Yield the next states with labels, or the invariants that a step breaks."""
        for place, process in enumerate(world.processes):
            state: ProcessState = self.value[process]
            actor = self.actors[place]
            if state.end:
                if state.end == "superseded" and world.crashes:
                    yield (place, "starts again"), self._restarted(world, place)
                continue
            request = self._request(process)
            try:
                for how, after, answer in self.ways(world, request):
                    try:
                        yield (place, how, request, answer), self.deliver(after, place, answer)
                    except Broken as broken:
                        yield (place, how, request, answer), broken
            except Broken as broken:
                yield (place, "", request, None), broken
            if world.crashes and actor.kind == "attempt":
                yield (place, "crashes and starts again"), self._restarted(world, place)
        for number in world.late:
            rest = world._replace(late=world.late - {number})
            try:
                after, answer = self.carry_out(rest, self.value[number])
                yield (None, "late", self.value[number], answer), after
            except Broken as broken:
                yield (None, "late", self.value[number], None), broken

    def _restarted(self, world: World, place: int) -> World:
        incarnation = self.value[world.processes[place]].incarnation + 1
        new = self.numbers.of(started(self.actors[place], incarnation))
        return self._with_process(world._replace(crashes=world.crashes - 1), place, new)

    def _pruned(self, world: World) -> World:
        if not world.late:
            return world
        keep = set()
        keys = self._by_key(world.objects).keys()
        values = [self.value[number] for number in world.late]
        puts = {value.key for value in values if isinstance(value, LatePut)}
        for number in world.late:
            request = self.value[number]
            if isinstance(request, CreateRecord | UpdateRecord) and self.prune:
                now = world.pointer if request.key == KEYS.pointer else world.owner
                if now if isinstance(request, CreateRecord) else request.version != ObjectVersion(str(now)):
                    continue
            elif isinstance(request, DeleteKeys) and not (set(request.keys) & (keys | puts)):
                continue
            keep.add(number)
        return world if len(keep) == len(world.late) else world._replace(late=frozenset(keep))

    # ---------------------------------------------------------------- progress

    def _must_succeed(self, world: World, place: int) -> bool:
        actor = self.actors[place]
        state: ProcessState = self.value[world.processes[place]]
        if state.end:
            return False
        if actor.top:
            return True
        pointer: StepPointer | None = self.value[world.pointer]
        if actor.kind != "attempt" or not state.owner_epoch:
            return False
        owner: OwnerRecord | None = self.value[world.owner]
        if actor.check_owner and owner is not None and owner.epoch > state.owner_epoch:
            return False
        return pointer is None or pointer.order <= actor.order(state.owner_epoch)

    def check_progress(self, world: World, place: int) -> None:
        """Check that a process ends in success when it runs alone from here, without faults.

        Raises:
            Broken: it doesn't.
        """
        actor = self.actors[place]
        world = world._replace(late=frozenset(), faults=0, crashes=0)
        path: list[tuple[int, int, frozenset[int], int, int]] = []
        starts = 0
        for _ in range(150):
            state: ProcessState = self.value[world.processes[place]]
            if state.end == "superseded" and starts < 2:
                again = started(actor, RESTARTED + starts)
                world = self._with_process(world, place, self.numbers.of(again))
                starts += 1
                continue
            if state.end in ("done", "refused"):
                self._good.update(path)
                return
            if state.end:
                break
            here = (world.pointer, world.owner, world.objects, place, world.processes[place])
            if here in self._good:
                self._good.update(path)
                return
            path.append(here)
            try:
                after, answer = self.carry_out(world, self._request(world.processes[place]))
                world = self.deliver(after, place, answer)
            except Broken:  # the search finds it by itself
                return
        raise Broken(
            f"5 {actor.name} alone doesn't end in success: {self.value[world.processes[place]].end or 'never'}"
        )

    def check_follower(self, world: World, place: int) -> None:
        """Check that a follower ends only if node 0 starts no rendezvous, and doesn't wait for one that has ended.

        Raises:
            Broken: it does.
        """
        actor = self.actors[place]
        node_0 = next(number for number, other in enumerate(self.actors) if other.name == actor.of)
        world = world._replace(late=frozenset(), faults=0, crashes=0)
        here = (world.pointer, world.owner, world.objects, world.processes[node_0], world.processes[place])
        if here in self._followed:
            return
        state: ProcessState = self.value[world.processes[place]]
        if state.end == "lost" and self._publishes_alone(world, node_0):
            raise Broken(f"11 {actor.name} has ended, and {actor.of} would wait for it")
        if not state.end and self.value[world.processes[node_0]].end == "done":
            self._check_end_of_wait(world, place)
        self._followed.add(here)

    def _publishes_alone(self, world: World, place: int) -> bool:
        """Return whether a process that runs alone publishes and ends in success."""
        phases = []
        while not (state := self.value[world.processes[place]]).end:
            phases.append(state.phase)
            world, answer = self.carry_out(world, self._request(world.processes[place]))
            world = self.deliver(world, place, answer)
        return state.end == "done" and "publish" in phases

    def _check_end_of_wait(self, world: World, place: int) -> None:
        begun = replace(self.value[world.processes[place]], phase="follow")
        world = self._with_process(world, place, self.numbers.of(begun))
        for _ in range(20):
            state: ProcessState = self.value[world.processes[place]]
            if state.end or state.phase == "unclaimed":
                return
            after, answer = self.carry_out(world, self._request(world.processes[place]))
            world = self.deliver(after, place, answer)
        raise Broken(f"12 {self.actors[place].name} waits for {self.actors[place].of}, which has ended")

    # ---------------------------------------------------------------- search

    def run(self, most_states: int = 3_000_000, *, progress: bool = True) -> Found:
        """Visit all states, or all up to the first broken invariant."""
        begin = time.monotonic()
        seen: Seen = {self._key(self.first): None}
        level = [self.first]
        while level and len(seen) < most_states:
            following = []
            for world in level:
                above = self._key(world)
                for label, step in self.successors(world):
                    broken = step if isinstance(step, Broken) else None
                    if not isinstance(step, Broken):
                        after = self._pruned(step)
                        key = self._key(after)
                        if key in seen:
                            continue
                        seen[key] = (above, label)
                        broken = self._broken(after, progress)
                        following.append(after)
                    if broken is not None:
                        trace = self._trace(seen, above, label)
                        return Found(len(seen), time.monotonic() - begin, False, str(broken), trace)
            level = following
        return Found(len(seen), time.monotonic() - begin, not level)

    def _broken(self, world: World, progress: bool) -> Broken | None:
        try:
            self.check(world)
            for place, actor in enumerate(self.actors) if progress else ():
                if self._must_succeed(world, place):
                    self.check_progress(world, place)
                if actor.kind == "follower":
                    self.check_follower(world, place)
        except Broken as broken:
            return broken
        return None

    def _key(self, world: World) -> tuple[int, ...]:
        """Return a state as numbers alone: equal states, and only those, have the same."""
        sets = (self.numbers.of(world.objects), self.numbers.of(world.late))
        return (world.pointer, world.owner, *sets, *world.processes, world.past, world.faults, world.crashes)

    def _trace(self, seen: Seen, key: tuple[int, ...], label: tuple[Any, ...]) -> list[str]:
        labels = [label]
        step = seen[key]
        while step is not None:
            key, label = step
            labels.append(label)
            step = seen[key]
        return [self._shown(label) for label in reversed(labels)]

    def _shown(self, label: tuple[Any, ...]) -> str:
        place, how, *rest = label
        who = "store" if place is None else self.actors[place].name
        if not rest:
            return f"{who} {how}"
        request, answer = rest
        what = getattr(request, "key", None) or getattr(request, "prefix", None) or getattr(request, "keys", "files")
        body = getattr(request, "body", None)
        by = f" by {body.write_id}" if isinstance(body, StepPointer | OwnerRecord) else ""
        reply = answer.name.lower() if isinstance(answer, FenceReply) else type(answer).__name__
        return f"{who}: {how + ': ' if how else ''}{type(request).__name__} {what}{by} -> {reply}"
