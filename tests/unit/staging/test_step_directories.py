"""Directories and patterns that cover steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from tests.unit.object_store.fence.memory_store import MemoryStore
from tests.unit.object_store.published_steps import published_step

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.staging.published_inputs import PublishedSteps, StepPlace
from maskrcnn_trainer.staging.step_directories import (
    DirectoryWithSteps,
    ObjectsOfPattern,
    is_step,
    places_above,
    places_in,
)

ROOT = ObjectUrl("s3", "lab", "ws")
CONTAINER = ObjectUrl("s3", "lab")
STEP = published_step("exp", "train", ("f1", {"model.tlt": b"m", "result.json": b"{}"}))
PLAIN = {"exp/notes.txt": b"n", "exp/copied/model.tlt": b"c", "data/a.json": b"d"}


class Objects:
    """Look-up of objects below ``ws``."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = {f"ws/{key}": content for key, content in objects.items()}

    def head(self, key: str) -> ObjectInfo | None:
        return ObjectInfo(key, len(self.objects[key]), "etag") if key in self.objects else None

    def list(self, prefix: str, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        for key in sorted(self.objects):
            if key.startswith(f"{prefix}/") and (recursive or "/" not in key[len(prefix) + 1 :]):
                yield ObjectInfo(key, len(self.objects[key]), "etag")


def steps_in(objects: Mapping[str, bytes]) -> PublishedSteps:
    store = MemoryStore()
    for key, content in objects.items():
        store.put(key, content)
    return PublishedSteps(lambda _: store.send, lambda _: ())


def directory(objects: Mapping[str, bytes], root: ObjectUrl = ROOT, *, any_prefix: bool = False) -> DirectoryWithSteps:
    return DirectoryWithSteps(Objects(objects), steps_in(objects), root, any_prefix=any_prefix)


def keys(objects: Mapping[str, bytes], prefix: str, root: ObjectUrl = ROOT, *, any_prefix: bool = False) -> list[str]:
    return sorted(info.key for info in directory(objects, root, any_prefix=any_prefix).list(prefix))


def test_directory_of_an_experiment_has_the_published_files_of_its_steps() -> None:
    expected = ["ws/exp/copied/model.tlt", "ws/exp/notes.txt", "ws/exp/train/model.tlt", "ws/exp/train/result.json"]
    assert keys({**STEP, **PLAIN}, "ws/exp") == expected


def test_foreign_object_in_the_directory_of_a_step_does_not_exist() -> None:
    assert "ws/exp/train/foreign.txt" not in keys({**STEP, "exp/train/foreign.txt": b"x"}, "ws/exp")


def test_directory_of_a_step_that_has_published_nothing_is_empty() -> None:
    assert keys({**published_step("exp", "train"), "exp/a.txt": b"a"}, "ws/exp") == ["ws/exp/a.txt"]


def test_directory_by_url_has_the_published_files_of_a_step() -> None:
    assert keys(STEP, "ws/exp", CONTAINER, any_prefix=True) == ["ws/exp/train/model.tlt", "ws/exp/train/result.json"]


def test_file_of_another_program_with_the_name_of_a_pointer_is_an_object_by_url(
    caplog: pytest.LogCaptureFixture,
) -> None:
    objects = {"exp/train/run.json": b'{"status": "done"}'}
    assert keys(objects, "ws/exp", CONTAINER, any_prefix=True) == ["ws/exp/train/run.json"]
    assert "/ws/exp/train is taken as another program's directory, not as a step: " in caplog.text


def test_file_of_another_program_with_the_name_of_a_pointer_is_refused_in_the_workspace() -> None:
    with pytest.raises(InvalidInput, match=r"exp/train/run\.json"):
        keys({"exp/train/run.json": b'{"status": "done"}'}, "ws/exp")


def pattern(objects: Mapping[str, bytes], *, reaches: bool, any_prefix: bool = False) -> list[str]:
    root = CONTAINER if any_prefix else ROOT
    lookup = ObjectsOfPattern(
        Objects(objects), steps_in(objects), root, any_prefix=any_prefix, reaches=lambda _: reaches
    )  # fmt: skip
    return [info.key for info in lookup.list("ws")]


def test_pattern_that_reaches_a_step_is_refused_by_the_name_of_the_step() -> None:
    with pytest.raises(InvalidInput, match="reaches the results of the step s3://lab/ws/exp/train"):
        pattern({**STEP, **PLAIN}, reaches=True)


def test_pattern_that_reaches_a_step_without_results_is_refused() -> None:
    with pytest.raises(InvalidInput, match="reaches the results of the step"):
        pattern(published_step("exp", "train"), reaches=True)


def test_pattern_that_reaches_no_step_finds_objects() -> None:
    assert set(pattern({**STEP, **PLAIN}, reaches=False)) >= {"ws/data/a.json", "ws/exp/copied/model.tlt"}


def test_pattern_by_url_passes_files_of_another_program() -> None:
    assert pattern({"exp/train/run.json": b"[]"}, reaches=True, any_prefix=True) == ["ws/exp/train/run.json"]


def test_directory_without_a_pointer_is_no_step() -> None:
    place = StepPlace.of(ROOT, "exp", "train")
    assert place is not None
    assert not is_step(place, steps_in({}), of_another_program=False)


@pytest.mark.parametrize(
    ("key", "any_prefix", "found"),
    [
        ("ws/exp/train/run.json", False, "s3://lab/ws/exp/train"),
        ("ws/exp/train/deep/run.json", False, None),
        ("ws/exp/train/deep/run.json", True, "s3://lab/ws/exp/train/deep"),
        ("exp/train/run.json", False, None),
        ("exp/train/run.json", True, "s3://lab/exp/train"),
        ("train/run.json", True, None),
        ("ws/exp/a b/run.json", True, None),
        ("ws/exp/train/xrun.json", True, None),
    ],
)
def test_steps_among_keys_have_a_file_of_the_name_of_the_pointer(key: str, any_prefix: bool, found: str | None) -> None:
    root = CONTAINER if any_prefix else ROOT
    places = places_in([key, "ws/other"], root, any_prefix=any_prefix)
    assert [str(place.url) for place in places] == ([found] if found else [])


@pytest.mark.parametrize(
    ("key", "itself", "steps"),
    [
        ("ws/exp/train/model.tlt", False, ["ws/exp/train", "ws/exp"]),
        ("ws/exp/train", True, ["ws/exp/train", "ws/exp"]),
        ("ws/exp/train", False, ["ws/exp"]),
        ("train/model.tlt", False, []),
        ("model.tlt", False, []),
        ("a b/exp/train/x", False, ["a b/exp/train"]),
    ],
)
def test_url_may_lie_in_the_directories_above_it(key: str, itself: bool, steps: list[str]) -> None:
    places = places_above(ObjectUrl("s3", "lab", key), itself=itself)
    assert [place.url.key for place in places] == steps
