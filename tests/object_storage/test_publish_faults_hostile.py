"""A hostile store: nothing is written outside the directory, nothing foreign deleted; memory and time are bounded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.object_storage.attempt_host import Times
from tests.object_storage.fault_bench import IN_STEP, FaultBench, Trial
from tests.object_storage.fault_table import FaultCase, FaultTable, run_cases
from tests.object_storage.forked_attempts import ForkedAttempt, processes_of
from tests.object_storage.proxy import Answer, Fault
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.store_reader import seen

GIGABYTE = 10**9
FOREIGN = {
    "notes.txt": b"of a user",
    "exp/notes.txt": b"of a user",
    "exp/train/notes.txt": b"of a user",
    "exp/train/o/notes.txt": b"of a user",
    "exp/train/o/99-abc-0-model.step-9.tlt": b"of a later claim",
    "exp/other/o/1-abc-0-model.step-1.tlt": b"of another step",
    "exp/other/run.json": b"{}",
    "others/train/o/1-abc-0-model.step-1.tlt": b"of another experiment",
    "others/train/run.json": b"{}",
}
"""Objects that aren't the step's, by key."""

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def begun(bench: FaultBench) -> StepInStore:
    """Return a step whose first attempt was killed after its second checkpoint, among foreign objects."""
    with bench.trial() as trial:
        for key, content in FOREIGN.items():
            trial.step.write(key, content)
        attempt = trial.start(1, (*IN_STEP, "--hold-at", "2"))
        attempt.wait_until_it_holds()
        attempt.kill()
        return trial.step


def pointer_of(step: StepInStore) -> dict[str, Any]:
    """Return the content of the pointer."""
    content: dict[str, Any] = json.loads(step.read(step.keys.pointer))
    return content


def forge_pointer(trial: Trial, change: Change) -> None:
    """Change the content of the pointer."""
    pointer = pointer_of(trial.step)
    change(pointer)
    trial.step.write(trial.step.keys.pointer, json.dumps(pointer).encode())


def forge_manifest(trial: Trial, change: Change) -> None:
    """Change the content of the manifest that the pointer names."""
    key = pointer_of(trial.step)["fingerprints"]["current"]["manifest"]
    manifest = json.loads(trial.step.read(key))
    change(manifest)
    trial.step.write(key, json.dumps(manifest).encode())


def file_of(manifest: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the record of a file."""
    return next(file for file in manifest["files"] if file["path"] == path)


def contents_of(step: StepInStore) -> dict[str, bytes]:
    """Return all objects below the workspace's URL."""
    return {key: step.read(key) for key in step.keys_below("")}


def files_below(directory: Path) -> dict[str, bytes]:
    """Return the files below a directory by path; links aren't followed."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and not path.is_symlink()}


def refused(attempt: ForkedAttempt, *parts: str, reason: str = "StoreRefused") -> None:
    """Check that an attempt is refused with 64 by a message with some parts."""
    code = attempt.wait()
    assert code == 64, attempt.printed
    error = attempt.launch.message()["error"]
    assert error["reason"] == reason, error
    for part in parts:
        assert part in error["message"], error


@contextmanager
def step_with_foreign(bench: FaultBench, begun: StepInStore) -> Iterator[Trial]:
    """Return a trial that begins with a step and all foreign objects, and check at the end that these are unchanged."""
    with bench.trial(begun) as trial:
        for key, content in FOREIGN.items():
            trial.step.write(key, content)
        yield trial
        left = contents_of(trial.step)
        assert {key: left.get(key) for key in FOREIGN} == FOREIGN, "a foreign object was changed"


PATHS = {
    "parent": "../evil",
    "grandparent": "../../../evil",
    "inner": "logs/../../evil",
    "backslash": "..\\evil",
    "dot": "./evil",
    "empty-part": "logs//evil",
    "no-task-file": "evil",
    "hidden": ".config/evil",
    "run-file": "run.json",
}


def test_forged_paths_are_refused(bench: FaultBench, begun: StepInStore, fault_table: FaultTable) -> None:
    def run(path: str) -> None:
        with step_with_foreign(bench, begun) as trial:
            evil = path.format(absolute=trial.directory)
            forge_manifest(trial, lambda manifest: file_of(manifest, "history.jsonl").update(path=evil))
            before = contents_of(trial.step)
            attempt = trial.start(2)
            refused(attempt, ascii(evil).strip("'")[:20])
            assert not list(trial.directory.rglob("*evil*")), "a file was written"
            after = contents_of(trial.step)
            assert all(after[key] == before[key] for key in before if key != trial.step.keys.pointer)

    paths = {**PATHS, "absolute": "{absolute}/evil"}
    cases = [FaultCase(name, partial(run, path)) for name, path in paths.items()]
    run_cases(fault_table, "moto", "manifest with a forged path", cases)


def test_forged_keys_are_refused(bench: FaultBench, begun: StepInStore, fault_table: FaultTable) -> None:
    """A manifest, a pointer, and its garbage that name an object of others: it is neither read nor deleted."""

    def in_manifest(trial: Trial, key: str) -> None:
        forge_manifest(trial, lambda manifest: file_of(manifest, "history.jsonl").update(key=key))

    def as_manifest(trial: Trial, key: str) -> None:
        forge_pointer(trial, lambda pointer: pointer["fingerprints"]["current"].update(manifest=key))

    def as_garbage(trial: Trial, key: str) -> None:
        forge_pointer(trial, lambda pointer: pointer.update(garbage=[key]))

    def run(forge: Callable[[Trial, str], None], key: str) -> None:
        with step_with_foreign(bench, begun) as trial:
            forge(trial, key)
            before = contents_of(trial.step)
            trial.proxy.forget()
            refused(trial.start(2), key)
            assert contents_of(trial.step) == before
            assert key not in [one.request.key.removeprefix(f"{trial.step.prefix}/") for one in trial.proxy.passed]

    foreign = ("notes.txt", "exp/train/notes.txt", *(key for key in FOREIGN if "/o/1-abc" in key))
    cases = [
        FaultCase(f"{forge.__name__}: {key}", partial(run, forge, key))
        for forge in (in_manifest, as_manifest, as_garbage)
        for key in (*foreign, "exp/train/o/../../../others/train/o/1-abc-0-x")
    ]
    cases += [
        FaultCase(f"{forge.__name__}: of a later claim", partial(run, forge, "exp/train/o/99-abc-0-model.step-9.tlt"))
        for forge in (as_manifest, as_garbage)
    ]
    run_cases(fault_table, "moto", "manifest, pointer, or garbage with a forged key", cases)


def test_objects_with_other_bytes_are_refused(bench: FaultBench, begun: StepInStore, fault_table: FaultTable) -> None:
    """An object was replaced, or the manifest states another size or SHA-256: no such file gets its name."""
    path = "model.step-2.tlt"

    def replaced(trial: Trial, record: dict[str, Any]) -> None:
        content = trial.step.read(record["key"])
        trial.step.write(record["key"], content[:-1] + bytes([content[-1] ^ 1]))

    def shorter(trial: Trial, record: dict[str, Any]) -> None:
        trial.step.write(record["key"], trial.step.read(record["key"])[:-1])

    def of_a_petabyte(_: Trial, record: dict[str, Any]) -> None:
        record["bytes"] = 10**15

    def of_another_hash(_: Trial, record: dict[str, Any]) -> None:
        record["sha256"] = "0" * 64

    def run(forge: Callable[[Trial, dict[str, Any]], None]) -> None:
        with step_with_foreign(bench, begun) as trial:
            forge_manifest(trial, lambda manifest: forge(trial, file_of(manifest, path)))
            attempt = trial.start(2)
            refused(attempt, path, reason="InvalidData")
            assert attempt.launch.working_dir is not None
            assert path not in [found.name for found in attempt.launch.working_dir.rglob("*")]

    cases = [
        FaultCase(forge.__name__, partial(run, forge)) for forge in (replaced, shorter, of_a_petabyte, of_another_hash)
    ]
    run_cases(fault_table, "moto", "object with other bytes than its manifest states", cases)


def test_named_objects_that_are_listed_as_garbage_stay(
    bench: FaultBench, begun: StepInStore, fault_table: FaultTable
) -> None:
    """Foreign objects stay as well while all garbage is deleted at once."""

    def run() -> None:
        with step_with_foreign(bench, begun) as trial:
            before = seen(trial.step)
            manifest = pointer_of(trial.step)["fingerprints"]["current"]["manifest"]
            named = sorted(before.objects - {manifest})
            forge_pointer(trial, lambda pointer: pointer.update(garbage=named))
            release = trial.directory / "release"
            attempt = trial.start(2, (*IN_STEP, "--hold-at", "3", "--release", str(release)))
            attempt.wait_until_it_holds()
            assert seen(trial.step, forged_garbage=True).attempts == (1, 1, 2)
            release.touch()
            code = attempt.wait()
            assert code == 0, attempt.printed
            assert seen(trial.step, forged_garbage=True).is_complete

    run_cases(fault_table, "moto", "garbage that lists objects which are named", [FaultCase("", run)])


def test_links_in_working_directory_are_not_followed(
    bench: FaultBench, begun: StepInStore, fault_table: FaultTable
) -> None:
    def run(path: str, to_directory: bool, exists: bool) -> None:
        with step_with_foreign(bench, begun) as trial:
            outside = trial.directory / "outside"
            (outside / "folder").mkdir(parents=True)
            if exists:
                (outside / "file").write_bytes(b"of a user")
                (outside / "folder" / "attempt-1.node-0.log").write_bytes(b"of a user")
            before = files_below(outside)
            work = trial.directory / "linked"
            link = work / "exp" / "train" / path
            link.parent.mkdir(parents=True)
            link.symlink_to(outside / ("folder" if to_directory else "file"))
            attempt = trial.start(2, working_dir=work)
            refused(attempt, path, reason="ForeignFiles")
            assert files_below(outside) == before, "a file outside the directory was changed"
            assert link.is_symlink()

    cases = [
        FaultCase(f"{path} -> {'an' if exists else 'no'} entry", partial(run, path, to_directory, exists))
        for path, to_directory in (("history.jsonl", False), ("model.step-2.tlt", False), ("logs", True))
        for exists in (True, False)
    ]
    run_cases(fault_table, "moto", "links in the working directory", cases)


def peak_memory(attempt: ForkedAttempt) -> int:
    """Return the most bytes that one process of an attempt had, measured until the attempt has ended."""
    most = 0
    while not attempt.has_ended:
        for pid in processes_of(attempt.pid):
            with suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                most = max(most, next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024)
        time.sleep(0.02)
    return most


def test_pointer_of_a_gigabyte_is_refused_with_bounded_memory(
    bench: FaultBench, begun: StepInStore, fault_table: FaultTable
) -> None:
    """The store announces it and sends it, sends it in chunks without a length, or sends more than it has announced."""

    def run(name: str, announced: int | None, code: int) -> None:
        with step_with_foreign(bench, begun) as trial:
            stream = Answer(200, headers=_HEADERS, stream=GIGABYTE, announced=announced)
            trial.proxy.faults = [
                Fault(lambda request: request.is_read and request.key.endswith(name), times=None, answer=stream)
            ]
            began = time.monotonic()
            attempt = trial.start(2, times=Times(limit=0.5))
            memory = peak_memory(attempt)
            assert attempt.wait() == code, attempt.printed
            assert time.monotonic() - began < 60
            assert name in attempt.launch.message()["error"]["message"]
            assert memory < 200e6, f"{memory / 1e6:.0f} MB"

    cases = [
        FaultCase(f"{name}, {announced} bytes announced", partial(run, name, announced, code))
        for name in ("owner.json", "train/run.json", "manifest.json")
        # without a length, the first answer isn't one of an object store; one that has answered may recover
        for announced, code in ((GIGABYTE, 64), (None, 64 if name == "owner.json" else 75), (1000, 64))
    ]
    run_cases(fault_table, "moto", "an owner, a pointer, or a manifest of a gigabyte", cases)


_HEADERS = {"ETag": '"0123456789abcdef0123456789abcdef"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
