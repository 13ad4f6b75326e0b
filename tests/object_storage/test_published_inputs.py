"""Commands read what attempts have published on a real server, by paths in the workspace and by URLs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.object_storage.commands import SECONDS, environment, images_with_annotations
from tests.object_storage.conftest import GetServer
from tests.object_storage.proxy import FaultProxy
from tests.object_storage.user_stores import UserStore
from tests.unit.object_store.clients import QUICK

from maskrcnn_trainer.object_store.fence.claiming import AlreadyDone, ClaimedStep, ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.exchange_types import run_decision
from maskrcnn_trainer.object_store.fence.holding import HeldOutcome, StepHolder, publish
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import AttemptOrder, PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.uploading import UploadedSet, UploadNames, upload_set
from maskrcnn_trainer.object_store.fence_store import FenceStore
from maskrcnn_trainer.shared.variables import (
    INPUT_FINGERPRINTS_VARIABLE,
    RESULTS_DIR_VARIABLE,
    WORKSPACE_URL_VARIABLE,
    WORKSPACE_VARIABLE,
)

IMAGES = images_with_annotations(6)
ROOT = "team/ws"
InFrontOf = Callable[..., FaultProxy]


KEYS = StepKeys("exp", "raw")


@dataclass
class Attempts:
    """Attempts of the step ``exp/raw``, which publish files."""

    store: UserStore
    directory: Path
    count: int = 0

    def publish(self, fingerprint: str, contents: Mapping[str, bytes]) -> PublishedSet:
        """Claim the step and publish files as an attempt of its own does."""
        self.count += 1
        token, folder = f"t{self.count}", self.directory / f"attempt-{self.count}"
        files = []
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
            files.append(PublishedFile(path, "", len(content), hashlib.sha256(content).hexdigest()))
        with self.store.client(options={"policy": QUICK}) as client:
            send = FenceStore(client, ROOT).sender(sources=folder)
            order = AttemptOrder(1, "2026-01-31T12:00:00Z", "uid-1", self.count)
            claim = run_decision(claim_step(ClaimTerms(KEYS, order, fingerprint, token)), send)
            assert isinstance(claim, ClaimedStep | AlreadyDone)
            holder: StepHolder | None = claim.holder
            assert holder is not None
            names = UploadNames(KEYS, holder.pointer.epoch, token)
            uploaded = run_decision(upload_set(names, PublishedSet(fingerprint, tuple(files)), contents), send)
            assert isinstance(uploaded, UploadedSet)
            outcome = run_decision(publish(holder, uploaded.slot, uploaded.published), send)
            assert isinstance(outcome, HeldOutcome)
        return uploaded.published


@dataclass(frozen=True)
class Conversions:
    """Calls of ``dataset_convert`` of the experiment ``exp`` with a working directory.

    Attributes:
        url: of the workspace.
        directory: for working directories and the cache.
        config: file of --store-config.
    """

    url: str
    directory: Path
    config: Path

    def run(
        self, source: str, fingerprints: Mapping[str, list[str]] | None = None, *, name: str = "work"
    ) -> subprocess.CompletedProcess[str]:
        """Convert the images and annotations below a path or URL."""
        results = self.results(name)
        results.mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            [
                *(sys.executable, "-m", "maskrcnn_trainer.cli", "dataset_convert", "-s", "2", "--include-mask"),
                *("-i", f"{source}/images", "-a", f"{source}/annotations.json", "-o", str(results)),
                *("--store-config", str(self.config), "--cache", str(self.directory / "cache")),
            ],
            env={
                **environment(),
                WORKSPACE_URL_VARIABLE: self.url,
                WORKSPACE_VARIABLE: str(self.directory / name),
                RESULTS_DIR_VARIABLE: str(results),
                INPUT_FINGERPRINTS_VARIABLE: json.dumps(fingerprints or {}),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def results(self, name: str = "work") -> Path:
        return self.directory / name / "exp" / "convert"

    def records(self, name: str = "work") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.results(name).glob("*.tfrecord")}

    def inputs(self, name: str = "work") -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.results(name) / "result.json").read_text())
        return dict(content["inputs"])


@pytest.fixture
def attempts(moto_store: UserStore, tmp_path: Path) -> Attempts:
    return Attempts(moto_store, tmp_path)


@pytest.fixture
def conversions(moto_store: UserStore, tmp_path: Path) -> Conversions:
    return Conversions(f"{moto_store.url}/{ROOT}", tmp_path, moto_store.config())


@pytest.fixture(scope="session")
def records_of_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """Return the records of the same inputs in files."""
    directory = tmp_path_factory.mktemp("of-files")
    for key, content in IMAGES.items():
        file = directory / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    arguments = ("-i", f"{directory}/images", "-a", f"{directory}/annotations.json", "-o", f"{directory}/records")
    command = [sys.executable, "-m", "maskrcnn_trainer.cli", "dataset_convert", "-s", "2", "--include-mask"]
    subprocess.run([*command, *arguments], env=environment(), check=True, capture_output=True, timeout=SECONDS)
    yield {path.name: path.read_bytes() for path in (directory / "records").glob("*.tfrecord")}


@dataclass(frozen=True)
class Converted:
    """Conversion of a published step, and its output."""

    conversions: Conversions
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def converted(get_server: GetServer, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    server, directory = get_server("moto"), tmp_path_factory.mktemp("converted")
    store = UserStore(server, server.new_container(), directory)
    Attempts(store, directory).publish("f1", IMAGES | {"notes.txt": b"not read"})
    conversions = Conversions(f"{store.url}/{ROOT}", directory, store.config())
    done = conversions.run("/workspace/exp/raw", {"raw": ["f1"]})
    assert done.returncode == 0, done.stdout + done.stderr
    return Converted(conversions, done)


def test_task_reads_a_published_step_by_its_path(converted: Converted, records_of_files: dict[str, bytes]) -> None:
    assert converted.conversions.records() == records_of_files
    sizes = {path: len(content) for path, content in IMAGES.items()}
    inputs = converted.conversions.inputs()
    assert {name: (found["objects"], found["bytes"]) for name, found in inputs.items()} == {
        "/workspace/exp/raw/annotations.json": (1, sizes["annotations.json"]),
        "/workspace/exp/raw/images": (6, sum(sizes.values()) - sizes["annotations.json"]),
    }


def test_nothing_that_a_task_leaves_names_a_key_of_the_store(converted: Converted) -> None:
    result = (converted.conversions.results() / "result.json").read_text()
    for text in (converted.done.stdout, converted.done.stderr, result):
        assert "/o/1-t1-" not in text
        assert str(converted.conversions.directory / "cache") not in text


def test_task_reads_the_results_of_its_fingerprint_after_an_edit(attempts: Attempts, conversions: Conversions) -> None:
    attempts.publish("f1", IMAGES)
    attempts.publish("f2", {"annotations.json": b"[]", "images/part-0/0000.jpg": b"edited"})
    assert conversions.run("/workspace/exp/raw", {"raw": ["f0", "f1"]}).returncode == 0
    assert conversions.run("/workspace/exp/raw", {"raw": ["f2"]}, name="edited").returncode == 64


def test_results_that_an_edit_has_replaced_are_never_read_from_the_current_slot(
    attempts: Attempts, conversions: Conversions
) -> None:
    attempts.publish("f1", IMAGES)
    attempts.publish("f2", IMAGES)
    attempts.publish("f3", IMAGES)
    done = conversions.run("/workspace/exp/raw", {"raw": ["f1"]})
    assert done.returncode == 75
    assert "/workspace/exp/raw has no results of the fingerprint" in done.stdout + done.stderr


def test_plain_objects_in_the_workspace_are_read_by_their_paths(
    moto_store: UserStore, conversions: Conversions, records_of_files: dict[str, bytes]
) -> None:
    moto_store.server.fill(moto_store.container, {f"{ROOT}/data/raw/{key}": one for key, one in IMAGES.items()})
    assert conversions.run("/workspace/data/raw").returncode == 0
    assert conversions.records() == records_of_files


def test_url_in_the_workspace_is_refused_with_the_path(attempts: Attempts, conversions: Conversions) -> None:
    attempts.publish("f1", IMAGES)
    done = conversions.run(f"{conversions.url}/exp/raw", {"raw": ["f1"]})
    assert done.returncode == 64
    assert "write /workspace/exp/raw/annotations.json" in done.stdout + done.stderr


def test_step_of_another_workspace_is_read_by_its_url(
    attempts: Attempts, moto_store: UserStore, tmp_path: Path, records_of_files: dict[str, bytes]
) -> None:
    attempts.publish("f1", IMAGES)
    other = Conversions(f"{moto_store.url}/other", tmp_path, moto_store.config())
    done = other.run(f"{moto_store.url}/{ROOT}/exp/raw")
    assert done.returncode == 0, done.stdout + done.stderr
    assert other.records() == records_of_files
    assert set(other.inputs()) == {f"{moto_store.url}/{ROOT}/exp/raw/{name}" for name in ("annotations.json", "images")}


def test_files_that_another_attempt_has_uploaded_again_are_not_loaded_again(
    attempts: Attempts, moto_store: UserStore, in_front_of: InFrontOf, tmp_path: Path
) -> None:
    proxy = in_front_of(moto_store)
    conversions = Conversions(f"{moto_store.url}/{ROOT}", tmp_path, moto_store.config(proxy.url))
    attempts.publish("f1", IMAGES)
    assert conversions.run("/workspace/exp/raw", {"raw": ["f1"]}).returncode == 0
    again = attempts.publish("f1", IMAGES)
    proxy.forget()
    assert conversions.run("/workspace/exp/raw", {"raw": ["f1"]}, name="again").returncode == 0
    read = {one.request.key for one in proxy.reads()}
    assert read.isdisjoint(f"{ROOT}/{file.key}" for file in again.files)


def test_damaged_file_is_refused_by_its_path(
    attempts: Attempts, moto_store: UserStore, conversions: Conversions
) -> None:
    published = attempts.publish("f1", IMAGES)
    damaged = next(file for file in published.files if file.path == "annotations.json")
    content = IMAGES["annotations.json"].replace(b"square", b"circle")
    moto_store.server.fill(moto_store.container, {f"{ROOT}/{damaged.key}": content})
    done = conversions.run("/workspace/exp/raw", {"raw": ["f1"]})
    assert done.returncode == 64
    assert "/workspace/exp/raw/annotations.json has another SHA-256 than its manifest" in done.stdout + done.stderr


def test_hostile_manifest_writes_nothing_outside_of_the_cache(
    attempts: Attempts, moto_store: UserStore, conversions: Conversions
) -> None:
    attempts.publish("f1", IMAGES)
    with moto_store.client() as client:
        listed = [info.key for info in client.list(f"{ROOT}/exp/raw")]
        key = next(name for name in listed if name.endswith("manifest.json"))
        found = client.read(key, 1_000_000)
    assert found is not None
    assert found.content is not None
    manifest = json.loads(found.content)
    manifest["files"][0]["path"] = "../../../../escaped.txt"
    moto_store.server.fill(moto_store.container, {key: json.dumps(manifest).encode()})
    done = conversions.run("/workspace/exp/raw", {"raw": ["f1"]})
    assert done.returncode == 64
    assert "escaped.txt" in done.stdout + done.stderr
    assert not any("escaped.txt" in files for _, _, files in os.walk(conversions.directory))
