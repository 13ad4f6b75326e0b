"""Objects of several inputs, and the places of each of them."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_trainer.object_store.cache_names import cached_name
from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.needed_objects import NamedObjects
from maskrcnn_trainer.object_store.staging_plan import NeededObject
from maskrcnn_trainer.object_store.staging_work import ListedInput, StagingWork, UrlInput, store_name
from maskrcnn_trainer.spec.url_fields import InputKind

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


def test_name_of_a_store_differs_by_endpoint_and_container() -> None:
    others = [StoreConnection("s3", "b"), StoreConnection("s3", "c", endpoint="https://store.example.com")]
    assert len({store_name(one) for one in (CONNECTION, *others)}) == 3
