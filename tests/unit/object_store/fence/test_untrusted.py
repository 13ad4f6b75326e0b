"""Tests of content that another writer has forged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.object_store.fence.memory_store import KEYS
from tests.unit.object_store.fence.test_encoding import MANIFEST, OWNER, POINTER, PUBLISHED

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.encoding import encode_record
from maskrcnn_trainer.object_store.fence.untrusted import (
    LARGEST_MANIFEST,
    LARGEST_OWNER,
    LARGEST_POINTER,
    most_bytes,
    parse_claim_name,
    parse_manifest,
    parse_node_log,
    parse_owner,
    parse_pointer,
    parse_record,
    refuse_unsafe_path,
)

Change = Callable[[dict[str, Any]], object]


def changed(record: Any, change: Change) -> bytes:
    document = json.loads(encode_record(record))
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "a\0b",
        "a\x7f",
        "\ud800",
        "x" * 256,
        7,
        None,
    ],
)
def test_path_that_leaves_the_directory_is_refused_by_name(path: object) -> None:
    with pytest.raises(InvalidInput, match="manifest: the path") as refused:
        refuse_unsafe_path(path, "manifest")
    assert refused.value.exit_code == 64
    assert refused.value.reason == "StoreRefused"


@pytest.mark.parametrize("path", ["a", "a/b.c", "..a", "a..", ".hidden", "ü/日本", "a b"])
def test_path_below_the_directory_is_accepted(path: str) -> None:
    assert refuse_unsafe_path(path, "manifest") == path


FOREIGN_KEYS = [
    "exp/train/run.json",
    "exp/owner.json",
    "exp/other/o/1-aa-0-x",
    "other/train/o/1-aa-0-x",
    "exp/train/o/../../other/o/1-aa-0-x",
    "exp/train/o/1-aa-0-x/../y",
    "exp/train/o/1-aa-0-",
    "exp/train/o/0-aa-0-x",
    "exp/train/o/1-AA-0-x",
    "exp/train/o/1-aa-0-x\n",
    "exp/train/o/999999999999999999999-aa-0-x",
    "exp/train/o/4-aa-0-x",
    "",
    7,
    None,
    ["exp/train/o/1-aa-0-x"],
]


@pytest.mark.parametrize("key", FOREIGN_KEYS)
def test_garbage_with_a_foreign_key_or_one_of_a_higher_epoch_is_refused(key: object) -> None:
    with pytest.raises(InvalidInput, match="garbage has"):
        parse_pointer(changed(POINTER, lambda d: d.update(garbage=[key])), KEYS)


@pytest.mark.parametrize("key", FOREIGN_KEYS)
def test_pointer_to_a_foreign_manifest_is_refused(key: object) -> None:
    with pytest.raises(InvalidInput, match="manifest has"):
        parse_pointer(changed(POINTER, lambda d: d["fingerprints"]["current"].update(manifest=key)), KEYS)


@pytest.mark.parametrize("key", [key for key in FOREIGN_KEYS if key != "exp/train/o/4-aa-0-x"])
def test_manifest_with_a_foreign_key_is_refused(key: object) -> None:
    with pytest.raises(InvalidInput, match="key has"):
        parse_manifest(changed(PUBLISHED, lambda d: d["files"][0].update(key=key)), KEYS, MANIFEST)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["files"][0].update(path="../x"),
        lambda d: d["files"][0].update(bytes=-1),
        lambda d: d["files"][0].update(bytes=True),
        lambda d: d["files"][0].update(bytes=2**64),
        lambda d: d["files"][0].update(bytes=1.5),
        lambda d: d["files"][0].update(sha256="x"),
        lambda d: d["files"][0].update(sha256="0" * 63 + "\n"),
        lambda d: d["files"].append(d["files"][0]),
        lambda d: d["files"][0].update(path=d["files"][1]["path"] + "/x"),
        lambda d: d["files"].append(7),
        lambda d: d.update(files={}),
        lambda d: d.update(checkpoints=["absent"]),
        lambda d: d.update(best="ünï/r.json"),
        lambda d: d.update(result="absent"),
        lambda d: d.update(result=[]),
        lambda d: d.update(fingerprint="a/b"),
        lambda d: d.pop("fingerprint"),
    ],
)
def test_forged_manifest_is_refused(change: Change) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_manifest(changed(PUBLISHED, change), KEYS, MANIFEST)
    assert refused.value.exit_code == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(epoch=0),
        lambda d: d.update(seq="7"),
        lambda d: d.update({"token": "a-b"}),
        lambda d: d.update(writeId=""),
        lambda d: d["order"].update(creationTimestamp="yesterday"),
        lambda d: d["order"].update(attempt=-1),
        lambda d: d["order"].update(uid="a\nb"),
        lambda d: d.update(order=[1, "", "", 1]),
        lambda d: d.update(fingerprints=None),
        lambda d: d["fingerprints"].update(previous=d["fingerprints"]["current"]),
        lambda d: d.update(garbage=["exp/train/o/1-aa-0-x"] * 1001),
        lambda d: d.update(garbage=[d["fingerprints"]["current"]["manifest"]]),
    ],
)
def test_forged_pointer_is_refused(change: Change) -> None:
    with pytest.raises(InvalidInput, match=r"exp/train/run\.json"):
        parse_pointer(changed(POINTER, change), KEYS)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(owner=None),
        lambda d: d.update(owner="another"),
        lambda d: d["owner"].update(id=7),
        lambda d: d["owner"].update(namespace="a\x1b[31m"),
        lambda d: d["owner"].update(name="x" * 300),
        lambda d: d.update(ownerEpoch=0),
        lambda d: d.update(store=None),
    ],
)
def test_forged_owner_is_refused(change: Change) -> None:
    with pytest.raises(InvalidInput, match=r"exp/owner\.json"):
        parse_owner(changed(OWNER, change), "exp")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"7", b"[]", b'"x"', b'{"epoch": ' + b"9" * 5000 + b"}"],
)
def test_content_that_is_not_an_object_of_json_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"exp/train/run\.json"):
        parse_pointer(content, KEYS)


def test_key_of_another_step_is_never_read() -> None:
    with pytest.raises(InvalidInput, match="isn't a key of exp/train/o/"):
        parse_record(encode_record(PUBLISHED), "exp/other/o/1-aa-0-manifest.json", KEYS)


@pytest.mark.parametrize(
    ("key", "most"),
    [(KEYS.owner, LARGEST_OWNER), (KEYS.pointer, LARGEST_POINTER), (MANIFEST, LARGEST_MANIFEST)],
)
def test_bytes_that_are_read_are_bounded(key: str, most: int) -> None:
    assert most_bytes(key, KEYS) == most
    with pytest.raises(InvalidInput, match=f"more than {most} bytes"):
        parse_record(b" " * (most + 1), key, KEYS)


def test_error_shows_no_control_characters_and_little_of_a_long_value() -> None:
    with pytest.raises(InvalidInput) as refused:
        refuse_unsafe_path("\x1b[31m" + "x" * 10_000 + "\\", "manifest")
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"epoch":0,"token":"aa"}',
        b'{"epoch":"1","token":"aa"}',
        b'{"epoch":1,"token":"A/.."}',
        b" " * 5000,
    ],
)
def test_forged_claim_of_node_0_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="^the claim of node 0"):
        parse_claim_name(content)


@pytest.mark.parametrize(
    "change",
    [
        {"key": "exp/train/run.json"},
        {"key": "exp/other/o/1-aa-0-log"},
        {"key": 5},
        {"bytes": -1},
        {"bytes": True},
        {"sha256": "0"},
    ],
    ids=str,
)
def test_forged_log_of_a_node_is_refused(change: dict[str, object]) -> None:
    fields = {"key": "exp/train/o/1-aa-0-log", "bytes": 1, "sha256": "0" * 64} | change
    with pytest.raises(InvalidInput, match="^the log of a node"):
        parse_node_log(json.dumps(fields).encode(), KEYS)
