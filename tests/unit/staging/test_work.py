"""Objects of several inputs, and the places of each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.cache_names import cached_name
from maskrcnn_trainer.staging.needed_objects import NamedObjects
from maskrcnn_trainer.staging.plan import NeededObject
from maskrcnn_trainer.staging.published_inputs import PublishedInfo, StepPlace
from maskrcnn_trainer.staging.work import ListedInput, StagingWork, UrlInput, store_name

CONNECTION = StoreConnection("s3", "b", endpoint="https://store.example.com")


def needed(key: str, etag: str, place: str) -> NeededObject:
    info = ObjectInfo(key, 3, etag)
    return NeededObject(info, cached_name(store_name(CONNECTION), key, etag, 3), place)


def listed(number: int, *objects: NeededObject) -> ListedInput:
    given = UrlInput(f"s3://b/{number}", InputKind.DIRECTORY, f"field{number}")
    return ListedInput(given, CONNECTION, "s3://b", NamedObjects(objects, ""), Path(f"/staged/{number}"))


def test_object_of_two_inputs_is_one_with_two_places() -> None:
    work = StagingWork([listed(0, needed("k", "e", "k")), listed(1, needed("k", "e", "deep/k"))])
    (one,) = work.objects
    assert work.places(one) == [Path("/staged/0/k"), Path("/staged/1/deep/k")]
    assert (work.url(one), work.field(one)) == ("s3://b/k", "field0")


def test_object_that_has_changed_keeps_its_places() -> None:
    work = StagingWork([listed(0, needed("k", "old", "k"), needed("l", "e", "l"))])
    old = next(one for one in work.objects if one.info.etag == "old")
    new = work.replace(old, ObjectInfo("k", 5, "new"))
    assert work.places(new) == [Path("/staged/0/k")]
    assert {info.key: info.etag for info in work.infos("s3://b/0")} == {"k": "new", "l": "e"}


def test_changes_of_an_object_are_counted_by_its_key() -> None:
    work = StagingWork([listed(0, needed("k", "old", "k"))])
    (one,) = work.objects
    assert [work.changes(one), work.changes(work.replace(one, ObjectInfo("k", 5, "new")))] == [1, 2]


@pytest.mark.parametrize(
    ("above", "directory", "origin"),
    [
        ("s3://b/ws/exp", "/staged/0/exp", ("/staged/0", "s3://b/ws")),
        ("/workspace/exp", "/staged/0/exp", ("/staged/0", "/workspace")),
        ("s3://b", "/staged/0/b", ("/staged/0/b", "s3://b")),
        ("/workspace", "/staged/0/ws", ("/staged/0/ws", "/workspace")),
        ("s3://b/ws", "/staged/0", ("/staged/0", "s3://b/ws")),
    ],
)
def test_directory_is_a_copy_of_a_place_above_it_as_far_as_names_are_equal(
    above: str, directory: str, origin: tuple[str, str]
) -> None:
    given = UrlInput(above, InputKind.DIRECTORY, "-r")
    assert ListedInput(given, CONNECTION, above, NamedObjects((), ""), Path(directory)).origin == origin


def test_published_file_is_recorded_by_its_path_and_content() -> None:
    place = StepPlace(ObjectUrl("s3", "b"), StepKeys("exp", "train"))
    info = PublishedInfo(key="exp/train/m", size=3, etag="ab" * 32, stored_key="exp/train/o/1-a-0-m", place=place)
    stored = NeededObject(ObjectInfo(info.stored_key, 3, ""), "name", "m", info)
    work = StagingWork([listed(0, stored)])
    assert work.infos("s3://b/0") == [info]


def test_name_of_a_store_differs_by_endpoint_and_container() -> None:
    others = [StoreConnection("s3", "b"), StoreConnection("s3", "c", endpoint="https://store.example.com")]
    assert len({store_name(one) for one in (CONNECTION, *others)}) == 3
