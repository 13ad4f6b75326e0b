"""Scenarios of the enumeration: processes, faults, and what is there at the start."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from tests.unit.object_store.fence.enumeration import Enumeration
from tests.unit.object_store.fence.processes import KEYS, Actor

from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    FingerprintSlot,
    OwnerIdentity,
    OwnerRecord,
    PublishedFile,
    PublishedSet,
    StepPointer,
)
from maskrcnn_trainer.object_store.fence.tombstones import deletion_order

SCENARIOS: dict[str, Callable[[], Enumeration]] = {}
"""Enumerations by name."""
BOUNDED: list[str] = []
"""Those that run in the unit tier."""


def seeded(
    fingerprints: tuple[str, ...] = ("F1",), results: tuple[str, ...] = (), created: int = 1, attempt: int = 0
) -> dict[str, Any]:
    """Return a pointer that an earlier attempt has left, with a manifest for each fingerprint, and their objects."""
    objects: dict[str, Hashable] = {}
    slots = []
    for place, fingerprint in enumerate(fingerprints):
        path = f"z1.{place}"
        key, manifest = (KEYS.written_once(1, "z1", 2 * place + more, name) for more, name in ((0, path), (1, "m")))
        objects[key] = path
        result = path if fingerprint in results else None
        objects[manifest] = PublishedSet(fingerprint, (PublishedFile(path, key, 1, path),), result=result)
        slots.append(FingerprintSlot(fingerprint, manifest))
    order = AttemptOrder(1, str(created), f"u{created}", attempt)
    pointer = StepPointer("z1-9", 10, 1, order, "z1", slots[0], slots[1] if slots[1:] else None)
    return {"pointer": pointer, "objects": objects}


OWNED: dict[str, Any] = {"owner": OwnerRecord("seed-0", OwnerIdentity("A", "n", "e"), 1, "probed")}


def scenario(
    name: str, actors: list[Actor], faults: int, crashes: int = 0, *, quick: bool = False, **more: Any
) -> None:
    """Add a scenario."""
    SCENARIOS[name] = lambda: Enumeration(actors, faults, crashes, **more)
    if quick:
        BOUNDED.append(name)


A = Actor("a")
C = Actor("c", attempt=2, top=True)


def with_(actor: Actor, **changes: Any) -> Actor:
    """Return an actor with changes."""
    return replace(actor, **changes)


def both(*actors: Actor, **changes: Any) -> list[Actor]:
    """Return actors with the same changes."""
    return [replace(actor, **changes) for actor in actors]


B = Actor("b", top=True)
THREE = [A, Actor("b"), C]
scenario("claim-same", [with_(A, top=True), B], 2, 1)
scenario("claim-same-small", [with_(A, top=True), B], 1, 0, quick=True)
scenario("claim-three", THREE, 1)
scenario("claim-three-faultless", THREE, 0, quick=True)
scenario("claim-three-crash", THREE, 0, 1)
scenario("publish", both(with_(A, publishes=2), C, merge=False), 2, **seeded())
scenario("publish-small", both(A, C, merge=False), 1, quick=True, **seeded())
scenario("publish-crash", both(with_(A, publishes=2), C, merge=False), 1, 1, **seeded())
scenario("publish-2-files", both(with_(A, publishes=2), C, merge=False, files=2), 1, **seeded())
CLEANERS = both(with_(A, publishes=2), C, clean=True)
scenario("clean-split", both(*CLEANERS, merge=False), 0, **seeded())
scenario("clean", CLEANERS, 0, quick=True, **seeded())
scenario("clean-two-two", both(*CLEANERS, publishes=2), 0, **seeded())
scenario("clean-fault", CLEANERS, 1, **seeded())
scenario("clean-one-fault", both(A, C, clean=True), 1, quick=True, **seeded())
scenario("clean-crash", CLEANERS, 0, 1, **seeded())
scenario("clean-inherit", both(*CLEANERS, inherit=True), 1, **seeded())
scenario("clean-late", CLEANERS, 0, late_deletes=True, **seeded())
scenario("clean-thread", [with_(A, publishes=2, clean=True, thread=True, top=True)], 1, quick=True, **seeded())
scenario("clean-thread-two", [with_(A, publishes=2, clean=True, thread=True), C], 1, **seeded())
scenario(
    "clean-three",
    [with_(A, clean=True), Actor("c", attempt=2), Actor("d", attempt=3, clean=True, top=True)],
    0,
    **seeded(),
)
READER = Actor("r", kind="reader", fingerprint=None, merge=False, top=True)
scenario("clean-two-faults", CLEANERS, 2, **seeded())
scenario("clean-two-crashes", CLEANERS, 0, 2, **seeded())
scenario("clean-fault-crash", CLEANERS, 1, 1, **seeded())
scenario("reader", [with_(A, publishes=2, clean=True, top=True), READER], 1, quick=True, **seeded())
scenario("reader-two", [*both(A, C, clean=True), READER], 0, **seeded())
EDITOR = Actor("c", attempt=2, fingerprint="F2", publishes=2, clean=True, top=True)
scenario("reader-fingerprint", [with_(A, clean=True), EDITOR, with_(READER, fingerprint="F1")], 0, **seeded())
scenario("owner-create", both(A, C, check_owner=True), 2, 1)
scenario("owner-create-small", both(A, C, check_owner=True), 1, quick=True)
TAKERS = [
    with_(A, check_owner=True, publishes=2, clean=True),
    Actor("b", owner="B", take=("A", 1), check_owner=True, clean=True, top=True),
]
scenario("takeover", TAKERS, 1, **seeded(), **OWNED)
scenario("takeover-faultless", TAKERS, 0, quick=True, **seeded(), **OWNED)
scenario("takeover-crash", TAKERS, 0, 1, **seeded(), **OWNED)
SWAPPERS = [
    Actor("a", take=("B", 2), check_owner=True),
    Actor("b", owner="B", take=("A", 1), check_owner=True),
]
scenario("takeover-swap", SWAPPERS, 1, 1, **OWNED)
scenario("takeover-swap-restarts", SWAPPERS, 0, 2, quick=True, **OWNED)
RESULT = both(with_(A, publishes=2), C, clean=True, result=True)
scenario("result-clean", RESULT, 1, **seeded())
scenario("result-equal", both(with_(A, publishes=2), Actor("b"), clean=True, result=True), 0, 1, **seeded())
BACK = [Actor("a", attempt=2, fingerprint="F2"), Actor("c", attempt=3, top=True)]
scenario("result-back", BACK, 2, 1, **seeded(results=("F1",), attempt=1))
scenario("result-back-small", BACK, 1, quick=True, **seeded(results=("F1",), attempt=1))
TWO = seeded(("F2", "F1"), ("F1",), attempt=1)
TAKEN_BACK = [
    Actor("a", attempt=2, fingerprint="F2", publishes=2, check_owner=True),
    Actor("b", owner="B", take=("A", 1), check_owner=True, top=True),
]
scenario("result-takeover", TAKEN_BACK, 1, 1, **TWO, **OWNED)
scenario("takeover-clean", both(*TAKEN_BACK, clean=True), 1, **seeded(("F2", "F1"), attempt=1), **OWNED)
# The swap: A (F1) is complete and previous, B (F2) is current; a claim for F1 swaps, and one for F3 publishes.
SWAP = [Actor("a", attempt=2, top=False), Actor("c", attempt=3, fingerprint="F3", clean=True, top=True)]
scenario("swap", SWAP, 2, 1, quick=True, **seeded(("F2", "F1"), ("F1",), attempt=1))
scenario("swap-zombie", [Actor("z", fingerprint="F2", publishes=2, clean=True), *SWAP], 1, **TWO)
scenario("swap-zombie-faultless", [Actor("z", fingerprint="F2", clean=True), *SWAP], 0, quick=True, **TWO)
scenario(
    "swap-equal",
    [Actor("a", attempt=2), Actor("b", attempt=2), Actor("c", attempt=3, fingerprint="F3", top=True)],
    1,
    1,
    **TWO,
)
scenario("swap-reader", [*both(*SWAP, clean=True), with_(READER, fingerprint="F2")], 1, **TWO)
THERE_AND_BACK = [
    Actor("a", attempt=2),
    Actor("b", attempt=3, fingerprint="F2"),
    Actor("c", attempt=4, fingerprint="F3", clean=True, top=True),
]
TWO_RESULTS = seeded(("F2", "F1"), ("F1", "F2"), attempt=1)
scenario("swap-there-and-back", THERE_AND_BACK, 1, **TWO_RESULTS)
scenario("swap-there-and-back-crash", THERE_AND_BACK, 0, 1, **TWO_RESULTS)
EDITS = [Actor("a", fingerprint="F2"), Actor("b", attempt=2, fingerprint="F3", top=True)]
scenario("edits", EDITS, 2, 1, **seeded())
scenario("edits-clean", both(*EDITS, clean=True), 1, quick=True, **seeded())
# A lower order finds the result of a higher one, which is edited, cleaned, taken over, or still to come.
OUTRANKED = Actor("z", fingerprint="F1", clean=True)
DONE = seeded(("F1",), ("F1",), attempt=3)
DONE_EDIT = Actor("c", attempt=4, fingerprint="F2", publishes=2, clean=True, top=True)
scenario("outranked-done", [with_(OUTRANKED, top=True)], 1, 1, quick=True, **DONE)
scenario("outranked-done-edit", [OUTRANKED, DONE_EDIT], 1, 1, quick=True, **DONE)
DONE_EDITS = [with_(DONE_EDIT, publishes=1, top=False), with_(DONE_EDIT, name="d", attempt=5, fingerprint="F3")]
scenario("outranked-done-edits", [OUTRANKED, *DONE_EDITS], 0, **DONE)
scenario("outranked-finishing", [OUTRANKED, with_(C, publishes=2, result=True, clean=True)], 1, 1, **seeded())
scenario("outranked-finishing-small", [OUTRANKED, with_(C, publishes=2, result=True)], 0, quick=True, **seeded())
OUTRANKED_OWNED = with_(OUTRANKED, check_owner=True)
scenario("outranked-takeover", [OUTRANKED_OWNED, with_(TAKERS[1], result=True)], 1, 1, **DONE, **OWNED)
ADMIN = Actor("adm", kind="admin", merge=True)
RUNNING = Actor("a", created=2, check_owner=True)
NEXT = Actor("b", created=1, owner="B", check_owner=True, top=True)
scenario("delete-running", [RUNNING, ADMIN], 1, 1, quick=True, **OWNED)
scenario("delete-running-seeded", [RUNNING, ADMIN], 0, quick=True, **seeded(), **OWNED)
scenario("delete-running-clean", [with_(RUNNING, publishes=2, clean=True), ADMIN], 1, 1, **seeded(), **OWNED)
scenario("delete-running-split", both(RUNNING, ADMIN, merge=False), 1, 1, **OWNED)
scenario("delete-late", [RUNNING, ADMIN], 2, 0, **OWNED)
scenario("delete-owner", [RUNNING, ADMIN, NEXT], 0, quick=True, **OWNED)
scenario("delete-takeover", [RUNNING, ADMIN, with_(NEXT, take=("A", 1))], 0, **seeded(), **OWNED)
scenario("delete-twice", [ADMIN, with_(NEXT, created=3)], 2, 1, **seeded(), **OWNED)
scenario("outranked-delete", [OUTRANKED_OWNED, ADMIN], 1, 1, quick=True, **DONE, **OWNED)
scenario("delete-two-admins", [ADMIN, Actor("other", kind="admin"), NEXT], 1, **seeded(), **OWNED)
CLOCK = [Actor("a", created=5, publishes=2), Actor("c", created=4, take=("A", 1), check_owner=True, top=True)]
scenario("clock", CLOCK, 1, 1, quick=True, **seeded(created=5, attempt=1), **OWNED)
OUTSIDE = Actor("o", kind="outside")
scenario("outside", [with_(A, publishes=2, top=True), OUTSIDE], 1, quick=True, **seeded())
scenario("outside-clean", [with_(A, publishes=2, clean=True, top=True), OUTSIDE], 1, **seeded())
scenario("outside-inherit", [with_(A, publishes=2, clean=True, inherit=True, top=True), OUTSIDE], 1, **seeded())
scenario("outside-next", [A, C, OUTSIDE], 1, **seeded())
scenario("outside-next-clean", [*both(A, C, clean=True), OUTSIDE], 0, quick=True, **seeded())
FINISHING = with_(A, publishes=2, result=True, top=True)
scenario("outside-finished", [FINISHING, OUTSIDE], 1, 1, **seeded())
scenario("outside-finished-clean", [with_(FINISHING, clean=True), OUTSIDE], 1, quick=True, **seeded())
# After the result follows another publish, as that of the logs does.
LOGS = with_(A, publishes=2, results=True, top=True)
scenario("outside-logs", [LOGS, OUTSIDE], 1, 1, quick=True, **seeded())
scenario("outside-logs-clean", [with_(LOGS, clean=True, inherit=True), OUTSIDE], 1, **seeded())
scenario("outside-logs-next", [with_(LOGS, top=False), C, OUTSIDE], 0, **seeded())
EDITING = Actor("a", attempt=2, fingerprint="F2", publishes=2, top=True)
scenario("outside-edit", [EDITING, OUTSIDE], 1, quick=True, **seeded(results=("F1",), attempt=1))
scenario("outside-swap", [*SWAP, OUTSIDE], 1, **seeded(("F2", "F1"), ("F1",), attempt=1))
scenario("outside-two", [with_(A, publishes=2, top=True), OUTSIDE, with_(OUTSIDE, name="p")], 1, **seeded())
scenario("outside-reader", [with_(A, publishes=2, clean=True, top=True), OUTSIDE, READER], 0, **seeded())
scenario("outside-delete", [RUNNING, ADMIN, OUTSIDE], 1, quick=True, **seeded(), **OWNED)
NODE = Actor("n", kind="node", of="a", publishes=2, merge=False)
GROUP = [with_(A, publishes=2, clean=True, logs=True, top=True), NODE]
scenario("group-logs", GROUP, 0, quick=True, **seeded())
scenario("group-logs-fault", GROUP, 1, **seeded())
scenario("group-logs-three", [with_(GROUP[0], publishes=3), with_(NODE, publishes=3)], 0, **seeded())
scenario("group-logs-next", [*both(A, C, clean=True, logs=True), NODE], 0, **seeded())
scenario("group-logs-crash", GROUP, 0, 1, **seeded())
scenario("group-logs-outside", [with_(GROUP[0], result=True), NODE, OUTSIDE], 0, **seeded())
FOLLOWER = Actor("f", kind="follower", of="a")
FOLLOWED = with_(A, check_owner=True, result=True)
scenario("follow", [FOLLOWED, FOLLOWER, ADMIN], 0, quick=True, **OWNED)
scenario("follow-fault", [FOLLOWED, FOLLOWER, ADMIN], 1, **OWNED)
scenario("follow-back", [FOLLOWED, FOLLOWER, ADMIN, with_(NEXT, created=2)], 0, **OWNED)
scenario("follow-next", [FOLLOWED, FOLLOWER, with_(EDITOR, publishes=1)], 0, quick=True, **seeded())
FOLLOWED_TAKER = Actor("b", created=2, owner="B", take=("A", 1), check_owner=True, fingerprint="F2")
scenario("follow-takeover", [FOLLOWED, FOLLOWER, FOLLOWED_TAKER], 0, quick=True, **seeded(), **OWNED)
# Run again after a deletion: what this node finds first is the tombstone of results before.
DELETED: dict[str, Any] = {
    "owner": OwnerRecord("seed-1", None, 2, "probed"),
    "pointer": StepPointer("z1-9", 10, 1, deletion_order(2), "z1"),
}
scenario("follow-deleted", [FOLLOWED, FOLLOWER], 0, quick=True, **DELETED)
