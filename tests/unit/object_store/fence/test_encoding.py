"""Tests of the records' JSON: names of the fields, and the way there and back."""

from __future__ import annotations

import json

import pytest
from tests.unit.object_store.fence.memory_store import KEYS
from tests.unit.object_store.fence.steps import SHA, order

from maskrcnn_trainer.object_store.fence.encoding import encode_claim_name, encode_node_log, encode_record
from maskrcnn_trainer.object_store.fence.records import (
    ClaimName,
    FingerprintSlot,
    NodeLog,
    OwnerIdentity,
    OwnerRecord,
    PublishedFile,
    PublishedSet,
    StepPointer,
)
from maskrcnn_trainer.object_store.fence.untrusted import (
    parse_claim_name,
    parse_manifest,
    parse_node_log,
    parse_owner,
    parse_pointer,
)

MANIFEST = KEYS.written_once(3, "aa", 1, "manifest.json")
POINTER = StepPointer(
    "aa-0",
    7,
    3,
    order(),
    "aa",
    FingerprintSlot("f1", MANIFEST),
    FingerprintSlot("f2", KEYS.written_once(2, "bb", 1, "manifest.json")),
    (KEYS.written_once(1, "cc", 0, "x"),),
)
OWNER = OwnerRecord("aa-0", OwnerIdentity("cluster", "team", "exp"), 2, "conditional-writes")
PUBLISHED = PublishedSet(
    "f1",
    tuple(
        PublishedFile(path, KEYS.written_once(3, "aa", number, path), 5, SHA)
        for number, path in enumerate(("checkpoints/10/model.h5", "checkpoints/20/model.h5", "ünï/r.json"))
    ),
    ("checkpoints/10", "checkpoints/20"),
    "checkpoints/10",
    "ünï/r.json",
)


def test_owner_survives_its_encoding() -> None:
    assert parse_owner(encode_record(OWNER), "exp") == OWNER


def test_tombstone_of_an_owner_survives_its_encoding() -> None:
    deleted = OwnerRecord("aa-1", None, 3)
    assert parse_owner(encode_record(deleted), "exp") == deleted


def test_pointer_survives_its_encoding() -> None:
    assert parse_pointer(encode_record(POINTER), KEYS) == POINTER


def test_first_pointer_survives_its_encoding() -> None:
    first = StepPointer("aa-0", 1, 1, order(), "aa")
    assert parse_pointer(encode_record(first), KEYS) == first


def test_manifest_survives_its_encoding() -> None:
    assert parse_manifest(encode_record(PUBLISHED), KEYS, MANIFEST) == PUBLISHED


def test_pointer_has_the_fields_of_the_design() -> None:
    document = json.loads(encode_record(POINTER))
    assert list(document) == ["writeId", "seq", "epoch", "order", "token", "fingerprints", "garbage"]
    assert document["fingerprints"]["current"] == {"fingerprint": "f1", "manifest": MANIFEST}


def test_owner_has_the_fields_of_the_design() -> None:
    document = json.loads(encode_record(OWNER))
    assert list(document) == ["writeId", "owner", "ownerEpoch", "store"]
    assert document["owner"] == {"id": "cluster", "namespace": "team", "name": "exp"}


def test_claim_of_node_0_survives_its_message() -> None:
    claim = ClaimName(7, "0a1b")
    assert parse_claim_name(encode_claim_name(claim)) == claim


@pytest.mark.parametrize("is_last", [False, True])
def test_log_of_a_node_survives_its_message(*, is_last: bool) -> None:
    log = NodeLog(KEYS.written_once(1, "aa", 5, "log"), 12, SHA, is_last)
    assert parse_node_log(encode_node_log(log), KEYS) == log
