"""Tests of links to files."""

from __future__ import annotations

import pytest
from tests.unit.artifacts.bucket import Bucket, attempt, own

from maskrcnn_trainer.artifacts.linking import link_to_file
from maskrcnn_trainer.artifacts.names import parse_name
from maskrcnn_trainer.artifacts.reading import SendRequest
from maskrcnn_trainer.errors import InvalidInput


class Linked:
    """Store in memory that makes links."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def sender(self) -> SendRequest:
        return self.bucket.send

    def link(self, key: str, seconds: float) -> str:
        return f"https://host/{key}?seconds={seconds}"


def filled() -> Linked:
    bucket = Bucket()
    own(bucket)
    attempt(bucket).publish({"logs/a": b"1"})
    return Linked(bucket)


def test_link_leads_to_the_object_of_the_file_for_an_hour() -> None:
    store = filled()
    key = next(key for key in store.bucket.objects if key.endswith("-a"))
    assert link_to_file(store, parse_name("exp/train/logs/a")) == f"https://host/{key}?seconds=3600.0"


@pytest.mark.parametrize("name", ["exp", "exp/train"])
def test_name_without_a_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="give EXPERIMENT/STEP/PATH"):
        link_to_file(filled(), parse_name(name))


@pytest.mark.parametrize("name", ["exp/train/logs", "exp/train/absent", "exp/other/a"])
def test_name_that_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="has no "):
        link_to_file(filled(), parse_name(name))
