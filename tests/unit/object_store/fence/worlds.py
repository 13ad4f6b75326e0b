"""States of everything that the enumeration visits: the store, requests on their way, processes, and history."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.unit.object_store.fence.processes import (
    KEYS,
    Event,
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


class WorldStore:
    """Store in memory, and the invariants of its contents.

    Args:
        compare: whether the store compares versions.
    """

    def __init__(self, *, compare: bool = True) -> None:
        self.compare = compare
        self.numbers = Numbers()
        self.value = self.numbers.values
        self._checked: set[tuple[int, frozenset[int], int]] = set()
        self._maps: dict[frozenset[int], dict[str, int]] = {}

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
        if isinstance(request, CreateRecord) and isinstance(request.body, bytes):
            return self._put(world, request.key, request.body), WrittenRecord(ObjectVersion("x"))
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
        if event.kind == "unfinished":
            raise Broken(f"4 {event.token} ends as done without a result of its fingerprint")
        if event.kind == "superseded":
            self._check_superseded(event, pointer)
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

    @staticmethod
    def _check_superseded(event: Event, pointer: StepPointer | None) -> None:
        assert event.order is not None
        if event.order.owner_epoch == 0:
            raise Broken(f"5 {event.token} exits as superseded, but rule 1 has no such outcome")
        if pointer is not None and (pointer.token == event.token or pointer.order < event.order):
            raise Broken(f"5 {event.token} exits as superseded, but the pointer is of {pointer.token}")

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
