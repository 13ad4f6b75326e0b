"""Objects that a task has read are recorded with their keys, etags, and sizes."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest

from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.staging.inputs_record import inputs_file, inputs_summary

A, B = ObjectInfo("a.jpg", 3, "e1"), ObjectInfo("b c.jpg", 4, "")


def test_sum_is_that_of_the_sorted_list() -> None:
    expected = hashlib.sha256(b"a.jpg e1 3\nb c.jpg  4\n").hexdigest()
    assert inputs_summary([B, A]) == {"objects": 2, "bytes": 7, "sha256": expected}
    assert inputs_summary([])["objects"] == 0


@pytest.mark.parametrize(
    "other", [ObjectInfo("a.jpg", 3, "e2"), ObjectInfo("a.jpg", 2, "e1"), ObjectInfo("a", 3, "e1")]
)
def test_every_difference_changes_the_sum(other: ObjectInfo) -> None:
    assert inputs_summary([other, B])["sha256"] != inputs_summary([A, B])["sha256"]


def test_file_has_all_objects_and_is_equal_for_equal_ones() -> None:
    content = inputs_file({"s3://b/images": [B, A], "s3://b/a.json": []})
    assert content == inputs_file({"s3://b/a.json": [], "s3://b/images": [A, B]})
    assert json.loads(gzip.decompress(content)) == {
        "s3://b/a.json": [],
        "s3://b/images": [
            {"key": "a.jpg", "etag": "e1", "size": 3},
            {"key": "b c.jpg", "etag": "", "size": 4},
        ],
    }
