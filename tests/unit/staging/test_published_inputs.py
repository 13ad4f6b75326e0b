"""Files of steps are found through the pointer, under the keys that their paths would have."""

from __future__ import annotations

import hashlib
import json

import pytest
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.published_steps import published_step, stored_key

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.staging.published_inputs import PublishedSteps, StepObjects, StepPlace

ROOT = ObjectUrl("s3", "lab", "ws")
PLACE = StepPlace(ROOT, KEYS)
CURRENT = ("f2", {"model.tlt": b"new", "deep/a.txt": b"a"})
PREVIOUS = ("f1", {"model.tlt": b"old"})


def store_of(objects: dict[str, bytes]) -> MemoryStore:
    store = MemoryStore()
    for key, content in objects.items():
        store.put(key, content)
    return store


def steps_of(store: MemoryStore, *fingerprints: str) -> PublishedSteps:
    return PublishedSteps(lambda _: store.send, lambda _: fingerprints)


def found(store: MemoryStore, *fingerprints: str) -> StepObjects:
    objects = steps_of(store, *fingerprints).find(PLACE)
    assert objects is not None
    return objects


@pytest.fixture
def objects() -> dict[str, bytes]:
    return published_step("exp", "train", CURRENT, PREVIOUS)


def test_file_has_the_key_of_its_path_and_is_read_from_its_object(objects: dict[str, bytes]) -> None:
    info = found(store_of(objects)).head("ws/exp/train/model.tlt")
    assert info is not None
    assert (info.key, info.size, info.sha256) == ("ws/exp/train/model.tlt", 3, hashlib.sha256(b"new").hexdigest())
    assert info.stored_key == f"ws/{stored_key(objects, b'new')}"


def test_key_of_an_object_is_not_a_path(objects: dict[str, bytes]) -> None:
    assert found(store_of(objects)).head(f"ws/{stored_key(objects, b'new')}") is None


@pytest.mark.parametrize(
    ("fingerprints", "content"), [((), b"new"), (("f1",), b"old"), (("f0", "f1", "f2"), b"old"), (("f2", "f1"), b"new")]
)
def test_first_fingerprint_with_a_slot_is_read(
    objects: dict[str, bytes], fingerprints: tuple[str, ...], content: bytes
) -> None:
    info = found(store_of(objects), *fingerprints).head("ws/exp/train/model.tlt")
    assert info is not None
    assert info.sha256 == hashlib.sha256(content).hexdigest()


def test_fingerprint_without_a_slot_is_tried_again_later(objects: dict[str, bytes]) -> None:
    with pytest.raises(TryAgain, match="s3://lab/ws/exp/train has no results of the fingerprint") as raised:
        steps_of(store_of(objects), "f3").find(PLACE)
    assert raised.value.reason == "NotPublished"


def test_step_that_has_published_nothing_is_refused_without_a_fingerprint() -> None:
    with pytest.raises(InvalidInput, match="s3://lab/ws/exp/train has no results yet"):
        steps_of(store_of(published_step("exp", "train"))).find(PLACE)


def test_step_that_has_published_nothing_exists_without_files() -> None:
    steps = steps_of(store_of(published_step("exp", "train")))
    assert steps.exists(PLACE)
    assert steps.find_if_published(PLACE) is None


def test_directory_without_a_pointer_is_not_a_step() -> None:
    steps = steps_of(MemoryStore())
    assert steps.find(PLACE) is None
    assert not steps.exists(PLACE)


def test_damaged_pointer_is_refused_by_its_key() -> None:
    with pytest.raises(InvalidInput, match=r"exp/train/run\.json"):
        steps_of(store_of({KEYS.pointer: b"{}"})).find(PLACE)


def test_manifest_with_a_path_outside_of_the_directory_is_refused(objects: dict[str, bytes]) -> None:
    manifest = next(key for key in objects if key.endswith("manifest.json"))
    content = json.loads(objects[manifest])
    content["files"][0]["path"] = "../model.tlt"
    with pytest.raises(InvalidInput, match=r"\.\./model\.tlt"):
        found(store_of({**objects, manifest: json.dumps(content).encode()}))


def test_all_inputs_are_of_the_set_that_was_found_first(objects: dict[str, bytes]) -> None:
    store = store_of(objects)
    steps = steps_of(store)
    first = steps.find(PLACE)
    for key, content in published_step("exp", "train", ("f2", {"model.tlt": b"newer"}), write=2).items():
        store.put(key, content)
    assert steps.find(PLACE) is first


def test_absent_object_of_an_unchanged_pointer_is_damage(objects: dict[str, bytes]) -> None:
    steps = steps_of(store_of(objects))
    steps.find(PLACE)
    with pytest.raises(InvalidInput, match=r"s3://lab/ws/exp/train/run\.json names an object that doesn't exist"):
        steps.find_again(PLACE)


def test_absent_object_of_a_changed_pointer_is_looked_up_again(objects: dict[str, bytes]) -> None:
    store = store_of(objects)
    steps = steps_of(store)
    steps.find(PLACE)
    for key, content in published_step("exp", "train", ("f2", {"model.tlt": b"newer"}), write=2).items():
        store.put(key, content)
    steps.find_again(PLACE)
    again = steps.find(PLACE)
    assert again is not None
    assert [info.sha256 for info in again.list("ws/exp/train")] == [hashlib.sha256(b"newer").hexdigest()]


@pytest.mark.parametrize(
    ("prefix", "recursive", "keys"),
    [
        ("ws/exp/train", True, ["ws/exp/train/model.tlt", "ws/exp/train/deep/a.txt"]),
        ("ws/exp/train", False, ["ws/exp/train/model.tlt"]),
        ("ws/exp/train/deep", True, ["ws/exp/train/deep/a.txt"]),
        ("ws/exp/train/dee", True, []),
        ("ws/exp", True, ["ws/exp/train/model.tlt", "ws/exp/train/deep/a.txt"]),
    ],
)
def test_files_are_listed_by_prefixes_of_whole_segments(
    objects: dict[str, bytes], prefix: str, recursive: bool, keys: list[str]
) -> None:
    assert [info.key for info in found(store_of(objects)).list(prefix, recursive=recursive)] == keys
