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
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.unit.object_store.fence.processes import (
    KEYS,
    RESTARTED,
    Actor,
    Event,
    ProcessState,
    started,
    stepped,
)

from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DeleteKeys,
    FenceAnswer,
    FenceReply,
    FenceRequest,
    FetchedKeys,
    FetchFiles,
    FoundRecord,
    GetRecord,
    ListedKey,
    ListedKeys,
    ListKeys,
    PutFiles,
    PutRecord,
    UpdateRecord,
    UploadedKeys,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    ObjectVersion,
    OwnerRecord,
    PublishedSet,
    StepPointer,
)


class Broken(Exception):
    """An invariant doesn't hold; the message begins with its number."""


class Past(NamedTuple):
    """History, which no process sees.

    Attributes:
        highest: order in effect; an exit code 0 counts.
        uses: fingerprints and manifests that became current, in that order.
        reported: manifests that were reported as published, or inherited by a claim.
        garbage: keys that were ever listed as such.
        taken: owners that replaced another one.
        deleted: ownerEpoch of a deletion that has ended.
    """

    highest: AttemptOrder = AttemptOrder(0, "", "", 0)
    uses: tuple[tuple[str, str], ...] = ()
    reported: frozenset[str] = frozenset()
    garbage: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    deleted: int = 0


class World(NamedTuple):
    """State of everything; numbers stand for values."""

    pointer: int
    owner: int
    objects: frozenset[int]
    late: frozenset[int]
    processes: tuple[int, ...]
    past: int
    faults: int
    crashes: int


@dataclass(frozen=True)
class LatePut:
    """Unconditional write that may still be carried out."""

    key: str
    content: Hashable


class Numbers:
    """Numbers of equal values, from 1; 0 is None."""

    def __init__(self) -> None:
        self.values: list[Any] = [None]
        self._numbers: dict[tuple[type, Any], int] = {}

    def of(self, value: Hashable) -> int:
        """Return the number of a value."""
        if value is None:
            return 0
        number = self._numbers.setdefault((type(value), value), len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


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


class Enumeration:
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
        self.actors = actors
        self.late_deletes = late_deletes
        self.prune = prune
        self.compare = compare
        self.numbers = Numbers()
        self.value = self.numbers.values
        self._after: dict[tuple[int, int, int], tuple[int, tuple[Event, ...]]] = {}
        self._fares: dict[int, FenceRequest] = {}
        self._good: set[tuple[int, int, frozenset[int], int, int]] = set()
        self._checked: set[tuple[int, frozenset[int], int]] = set()
        self._maps: dict[frozenset[int], dict[str, int]] = {}
        number = self.numbers.of
        stored = frozenset(number(pair) for pair in (objects or {}).items())
        processes = tuple(number(started(actor, 1)) for actor in actors)
        world = World(0, number(owner), stored, frozenset(), processes, number(Past()), faults, crashes)
        if pointer is not None:
            world = self._pointer_written(world, pointer)
            for slot in pointer.slots:
                world = self._learn(world, Event("reported", slot.manifest))
        self.first = world

    # ---------------------------------------------------------------- the store

    def _by_key(self, objects: frozenset[int]) -> dict[str, int]:
        found = self._maps.get(objects)
        if found is None:
            found = self._maps[objects] = {self.value[number][0]: number for number in objects}
        return found

    def _content(self, objects: frozenset[int], key: str) -> Any:
        number = self._by_key(objects).get(key)
        return self.value[number][1] if number else None

    def _named(self, objects: frozenset[int], pointer: StepPointer) -> set[str]:
        names = set()
        for slot in pointer.slots:
            names.add(slot.manifest)
            content = self._content(objects, slot.manifest)
            if isinstance(content, PublishedSet):
                names.update(file.key for file in content.files)
        return names

    def _put(self, world: World, key: str, content: Hashable) -> World:
        old = self._by_key(world.objects).get(key)
        return world._replace(objects=(world.objects - {old}) | {self.numbers.of((key, content))})

    def _removed(self, world: World, keys: tuple[str, ...]) -> World:
        by_key = self._by_key(world.objects)
        return world._replace(objects=world.objects - {by_key[key] for key in keys if key in by_key})

    def carry_out(self, world: World, request: FenceRequest | LatePut) -> tuple[World, FenceAnswer]:
        """Return the world and the answer after a request."""
        if isinstance(request, GetRecord):
            return world, self._read(world, request.key)
        if isinstance(request, ListKeys):
            keys = sorted(self._by_key(world.objects)) + ([KEYS.pointer] if world.pointer else [])
            return world, ListedKeys(tuple(ListedKey(key, 0.0) for key in keys))
        if isinstance(request, FetchFiles):
            return world, self._fetch(world, request)
        return self._change(world, request)

    def _change(
        self, world: World, request: LatePut | PutRecord | PutFiles | DeleteKeys | CreateRecord | UpdateRecord
    ) -> tuple[World, FenceAnswer]:
        if isinstance(request, LatePut):
            return self._put(world, request.key, request.content), WrittenRecord(ObjectVersion("x"))
        if isinstance(request, PutRecord):
            return self._put(world, request.key, request.body), WrittenRecord(ObjectVersion("x"))
        if isinstance(request, PutFiles):
            for file in request.files:
                world = self._put(world, file.key, file.sha256)
            return world, UploadedKeys(frozenset(file.key for file in request.files))
        if isinstance(request, DeleteKeys):
            return self._removed(world, request.keys), FenceReply.DELETED
        return self._write(world, request)

    def _read(self, world: World, key: str) -> FenceAnswer:
        number = {KEYS.pointer: world.pointer, KEYS.owner: world.owner}.get(key)
        if number is None:
            content = self._content(world.objects, key)
            return FoundRecord(content, ObjectVersion("x"), 0.0) if content is not None else FenceReply.NOT_FOUND
        return FoundRecord(self.value[number], ObjectVersion(str(number)), 0.0) if number else FenceReply.NOT_FOUND

    def _fetch(self, world: World, request: FetchFiles) -> FenceAnswer:
        present = set()
        for file in request.files:
            content = self._content(world.objects, file.key)
            if content is not None:
                present.add(file.key)
                if content != file.sha256:
                    raise Broken(f"1 a reader gets {content} where the manifest has {file.sha256}")
        return FetchedKeys(frozenset(present))

    def _write(self, world: World, request: CreateRecord | UpdateRecord) -> tuple[World, FenceAnswer]:
        now = world.pointer if request.key == KEYS.pointer else world.owner
        if isinstance(request, CreateRecord):
            if now:
                return world, FenceReply.ALREADY_EXISTS
        elif not now:
            return world, FenceReply.NOT_FOUND
        elif self.compare and request.version != ObjectVersion(str(now)):
            return world, FenceReply.PRECONDITION
        if isinstance(request.body, StepPointer):
            world = self._pointer_written(world, request.body)
            return world, WrittenRecord(ObjectVersion(str(world.pointer)))
        assert isinstance(request.body, OwnerRecord)
        world = self._owner_written(world, request.body)
        return world, WrittenRecord(ObjectVersion(str(world.owner)))

    # ---------------------------------------------------------------- invariants of changes

    def _pointer_written(self, world: World, new: StepPointer) -> World:
        past: Past = self.value[world.past]
        old: StepPointer | None = self.value[world.pointer]
        if new.order < past.highest:
            raise Broken(f"2 {new.token} of order {new.order} writes after {past.highest}")
        if old is not None and (new.seq != old.seq + 1 or new.epoch < old.epoch):
            raise Broken(f"8 seq {old.seq}, epoch {old.epoch} are followed by seq {new.seq}, epoch {new.epoch}")
        if new.slots and new.order.owner_epoch < past.deleted:
            raise Broken(f"10 {new.token} publishes, and its experiment was deleted")
        names = self._named(world.objects, new)
        if names & set(new.garbage):
            raise Broken(f"6 keys are named and listed as garbage in one write: {sorted(names & set(new.garbage))}")
        if names & past.garbage:
            raise Broken(f"6 keys once listed as garbage are named again: {sorted(names & past.garbage)}")
        uses = past.uses
        if new.order.uid == "":
            past = past._replace(reported=frozenset())
            uses = ()
        if new.previous and (new.previous.fingerprint, new.previous.manifest) not in uses:
            uses += ((new.previous.fingerprint, new.previous.manifest),)
        if new.current and (old is None or old.current != new.current):
            uses += ((new.current.fingerprint, new.current.manifest),)
        past = past._replace(highest=new.order, uses=uses, garbage=past.garbage | set(new.garbage))
        return world._replace(pointer=self.numbers.of(new), past=self.numbers.of(past))

    def _owner_written(self, world: World, new: OwnerRecord) -> World:
        past: Past = self.value[world.past]
        old: OwnerRecord | None = self.value[world.owner]
        if new.epoch != (old.epoch if old else 0) + 1:
            raise Broken(f"8 ownerEpoch {new.epoch} follows {old.epoch if old else 0}")
        if old is not None and old.owner is not None and new.owner is not None:
            if new.owner.owner_id in past.taken:
                raise Broken("5 the same takeOverFrom takes effect a second time")
            past = past._replace(taken=past.taken | {new.owner.owner_id})
        return world._replace(owner=self.numbers.of(new), past=self.numbers.of(past))

    def _learn(self, world: World, event: Event) -> World:
        past: Past = self.value[world.past]
        pointer: StepPointer | None = self.value[world.pointer]
        if event.kind == "superseded":
            assert event.order is not None
            if event.order.owner_epoch == 0:
                raise Broken(f"5 {event.token} exits as superseded, but rule 1 has no such outcome")
            if pointer is not None and (pointer.token == event.token or pointer.order < event.order):
                raise Broken(f"5 {event.token} exits as superseded, but the pointer is of {pointer.token}")
            return world
        if event.kind == "lost":
            owner: OwnerRecord | None = self.value[world.owner]
            if owner is not None and event.order is not None and owner.epoch == event.order.owner_epoch:
                raise Broken(f"5 an attempt exits as one of a former owner, but ownerEpoch is {owner.epoch}")
            return world
        if event.kind == "deleted" and event.order is not None:
            past = past._replace(deleted=max(past.deleted, event.order.owner_epoch))
        if event.kind == "done" and event.order is not None:
            past = past._replace(highest=max(past.highest, event.order))
            use = (event.fingerprint, event.manifest)
            if event.manifest and past.uses[-1:] != (use,):
                past = past._replace(uses=(*past.uses, use))
        if event.manifest:
            past = past._replace(reported=past.reported | {event.manifest})
        return world._replace(past=self.numbers.of(past))

    # ---------------------------------------------------------------- invariants of states

    def check(self, world: World) -> None:
        """Check a state.

        Raises:
            Broken: an invariant doesn't hold.
        """
        seen = (world.pointer, world.objects, world.past)
        if seen in self._checked:
            return
        pointer: StepPointer | None = self.value[world.pointer]
        if pointer is not None:
            self._check_named(world.objects, pointer)
        tokens: dict[int, str] = {}
        for key in self._by_key(world.objects):
            parts = KEYS.parse(key)
            if parts is not None and tokens.setdefault(parts.epoch, parts.token) != parts.token:
                raise Broken(f"7 epoch {parts.epoch} has keys of {parts.token} and {tokens[parts.epoch]}")
        self._check_reported(self.value[world.past], pointer)
        self._checked.add(seen)

    def _check_named(self, objects: frozenset[int], pointer: StepPointer) -> None:
        for slot in pointer.slots:
            content = self._content(objects, slot.manifest)
            if content is None:
                raise Broken(f"3 the pointer names {slot.manifest}, which doesn't exist")
            for file in content.files:
                stored = self._content(objects, file.key)
                if stored is None:
                    raise Broken(f"3 {slot.manifest} names {file.key}, which doesn't exist")
                if stored != file.sha256:
                    raise Broken(f"1 {slot.manifest}: {file.key} has the content of another write, {stored}")

    @staticmethod
    def _check_reported(past: Past, pointer: StepPointer | None) -> None:
        now = {slot.fingerprint: slot.manifest for slot in pointer.slots} if pointer else {}
        manifests = [manifest for _, manifest in past.uses]
        for manifest in past.reported:
            if manifest not in manifests:
                raise Broken(f"4 {manifest} was reported as published and never took effect")
            first = manifests.index(manifest)
            last = len(manifests) - 1 - manifests[::-1].index(manifest)
            fingerprint = past.uses[first][0]
            named = now.get(fingerprint)
            if named is None:
                if len({other for other, _ in past.uses[last + 1 :]} - {fingerprint}) < 2:
                    raise Broken(f"4 {manifest} isn't named any more, without two other fingerprints used since")
            elif manifests.index(named) < first:
                raise Broken(f"4 {manifest} was replaced by {named}, which is older")

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

    # ---------------------------------------------------------------- search

    def run(self, most_states: int = 3_000_000, *, progress: bool = True) -> Found:
        """Visit all states, or all up to the first broken invariant."""
        begin = time.monotonic()
        seen: dict[int, tuple[int, tuple[Any, ...]] | None] = {hash(self.first): None}
        level = [self.first]
        while level and len(seen) < most_states:
            following = []
            for world in level:
                above = hash(world)
                for label, step in self.successors(world):
                    broken = step if isinstance(step, Broken) else None
                    if not isinstance(step, Broken):
                        after = self._pruned(step)
                        number = hash(after)
                        if number in seen:
                            continue
                        seen[number] = (above, label)
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
            for place in range(len(self.actors)) if progress else ():
                if self._must_succeed(world, place):
                    self.check_progress(world, place)
        except Broken as broken:
            return broken
        return None

    def _trace(
        self, seen: dict[int, tuple[int, tuple[Any, ...]] | None], number: int, label: tuple[Any, ...]
    ) -> list[str]:
        labels = [label]
        step = seen[number]
        while step is not None:
            number, label = step
            labels.append(label)
            step = seen[number]
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
