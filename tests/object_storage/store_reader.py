"""Independent reader of a step in a store: it checks all that the pointer names, with none of the product's decisions.

It knows the format of the objects and the content that the stand-in task writes, and nothing else. Every check that
fails is an AssertionError.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.object_storage.published_steps import StepInStore
from tests.object_storage.stand_in_task import attempts_in

_CHECKPOINT = re.compile(r"model\.step-([0-9]+)\.tlt")
_LOG = re.compile(r"logs/attempt-[0-9]+\.node-0\.log")
_OTHERS = {"status.json", "history.jsonl", "evaluations.json", "result.json"}


@dataclass(frozen=True)
class SeenSet:
    """A published set that is whole and right.

    Attributes:
        fingerprint: whose set it is.
        attempts: for each step of the newest checkpoint, the attempt that made it; empty without a checkpoint.
        is_complete: whether it has the result.
        objects: keys that it names, the manifest's included.
    """

    fingerprint: str
    attempts: tuple[int, ...]
    is_complete: bool
    objects: frozenset[str]


@dataclass(frozen=True)
class SeenStep:
    """State of a step in the store.

    Attributes:
        attempt: number of the attempt that has claimed it; 0: none has.
        seq: number of writes of the pointer.
        token: of its process.
        content: of the pointer.
        current, previous: the sets that it names.
    """

    attempt: int = 0
    seq: int = 0
    token: str = ""
    content: bytes = b""
    current: SeenSet | None = None
    previous: SeenSet | None = None

    @property
    def published(self) -> tuple[str, SeenSet | None, SeenSet | None]:
        """Return who has claimed the step and what is published; the holder's cleaning changes the content alone."""
        return self.token, self.current, self.previous

    @property
    def attempts(self) -> tuple[int, ...]:
        """Return the attempts that made the steps of the newest published checkpoint."""
        return self.current.attempts if self.current is not None else ()

    @property
    def is_complete(self) -> bool:
        """Return whether the current set has the result."""
        return self.current is not None and self.current.is_complete

    @property
    def objects(self) -> frozenset[str]:
        """Return the keys of all objects that are named."""
        sets = [found for found in (self.current, self.previous) if found is not None]
        return frozenset().union(*(found.objects for found in sets))


def seen(step: StepInStore, *, forged_garbage: bool = False) -> SeenStep:
    """Return what the store has of a step, after a check of all bytes that the pointer names.

    Args:
        step: the step.
        forged_garbage: whether the test has listed named objects as garbage itself.
    """
    present = step.keys_below(step.experiment)
    owner = f"{step.experiment}/owner.json"
    pointer_key = f"{step.experiment}/{step.step}/run.json"
    if owner in present:
        assert json.loads(step.read(owner))["ownerEpoch"] >= 1
    if pointer_key not in present:
        return SeenStep()
    assert owner in present, "there is a pointer without an owner"
    content = step.read(pointer_key)
    pointer = json.loads(content)
    slots = pointer["fingerprints"]
    attempt = pointer["order"]["attempt"]
    sets = {name: _seen_set(step, slots[name], present, attempt) for name in ("current", "previous")}
    found = SeenStep(attempt, pointer["seq"], pointer["token"], content, sets["current"], sets["previous"])
    garbage = frozenset() if forged_garbage else frozenset(pointer["garbage"])
    assert not found.objects & garbage, "an object is named and listed as garbage"
    return found


def _seen_set(
    step: StepInStore, slot: Mapping[str, str] | None, present: frozenset[str], claimed_by: int
) -> SeenSet | None:
    if slot is None:
        return None
    manifest_key = slot["manifest"]
    below = f"{step.experiment}/{step.step}/o/"
    assert manifest_key in present, f"the pointer names {manifest_key}, which doesn't exist"
    manifest: dict[str, Any] = json.loads(step.read(manifest_key))
    assert manifest["fingerprint"] == slot["fingerprint"]
    files: dict[str, bytes] = {}
    keys = {manifest_key}
    for file in manifest["files"]:
        path, key = file["path"], file["key"]
        assert key.startswith(below), f"{key} isn't below {below}"
        assert key not in keys, f"{key} is named twice"
        assert path not in files, f"{path} is named twice"
        assert key in present, f"the manifest names {key}, which doesn't exist"
        content = step.read(key)
        assert len(content) == file["bytes"], f"{key} has {len(content)} bytes, not {file['bytes']}"
        assert hashlib.sha256(content).hexdigest() == file["sha256"], f"{key} has another SHA-256"
        files[path] = content
        keys.add(key)
    attempts = _attempts_of(manifest, files, claimed_by)
    return SeenSet(slot["fingerprint"], attempts, manifest["result"] is not None, frozenset(keys))


def _attempts_of(manifest: Mapping[str, Any], files: Mapping[str, bytes], claimed_by: int) -> tuple[int, ...]:
    """Return the attempts of the newest checkpoint, after a check that all files are those of its step.

    An attempt that has resumed announces the resumed checkpoint and continues at once, so the history and the
    evaluations of that publish may be later than its checkpoint; so may those of a task that has failed.
    """
    for path in files:
        known = path in _OTHERS or _CHECKPOINT.fullmatch(path) or _LOG.fullmatch(path)
        assert known, f"the set has {path}, which the task doesn't write"
    steps = sorted(int(match[1]) for path in files if (match := _CHECKPOINT.fullmatch(path)))
    assert manifest["checkpoints"] == [f"model.step-{step}.tlt" for step in steps]
    made = {step: attempts_in(files[f"model.step-{step}.tlt"]) for step in steps}
    assert all(len(attempts) == step for step, attempts in made.items()), "a checkpoint has the name of another step"
    newest = steps[-1] if steps else 0
    attempts = made[newest] if steps else []
    assert attempts == sorted(attempts), "a step was made by an attempt before the one of the step before"
    assert all(attempts[: len(earlier)] == earlier for earlier in made.values()), "checkpoints of different runs"
    records = [json.loads(line) for line in files.get("status.json", b"").splitlines()]
    assert not steps or records, "the set has checkpoints, and no status"
    result = manifest["result"]
    assert (result == "result.json") == ("result.json" in files)
    failed = bool(records) and records[-1]["status"] == "FAILURE"
    is_exact = result is not None or (set(attempts) == {claimed_by} and not failed)
    history = [json.loads(line)["step"] for line in files.get("history.jsonl", b"").splitlines()]
    evaluated = sorted(int(step) for step in json.loads(files.get("evaluations.json", b"{}")))
    what = f"the history has the steps {history}, and the evaluations {evaluated}, with the checkpoints {steps}"
    assert history == list(range(1, len(history) + 1)), what
    assert len(history) >= newest, what
    assert set(steps[:-1]) <= set(evaluated), what
    if is_exact:
        assert (len(history), evaluated) == (newest, steps), what
    if result is not None:
        final = json.loads(files[result])
        assert (final["code"], final["checkpointStep"]) == (0, newest)
        assert records[-1]["status"] == "SUCCESS", "the result is published with the status of a running task"
    return tuple(attempts)
