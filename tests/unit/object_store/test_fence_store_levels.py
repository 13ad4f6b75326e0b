"""Levels of the store of experiments on the stub server: folders and objects, without what lies deeper."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.object_store.clients import SCHEMES
from tests.unit.object_store.fence_stores import fence_store
from tests.unit.object_store.stub_server import serving

from maskrcnn_trainer.object_store.fence_store import StoreLevel

OBJECTS = {
    "ws/exp/owner.json": b"{}",
    "ws/exp/train/run.json": b"{}",
    "ws/exp/train/o/1-t-0-a": b"x",
    "ws/exp/export/run.json": b"{}",
    "ws/readme.txt": b"x",
    "wsx/other/owner.json": b"{}",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_level_has_the_last_segments_of_folders_and_objects(scheme: str, tmp_path: Path) -> None:
    with serving(b=OBJECTS) as server:
        store = fence_store(server, tmp_path, scheme)
        assert store.level("") == StoreLevel(("exp",), frozenset({"readme.txt"}))
        assert store.level("exp") == StoreLevel(("export", "train"), frozenset({"owner.json"}))
        assert store.level("exp/train") == StoreLevel(("o",), frozenset({"run.json"}))


def test_level_of_the_container_has_its_folders(tmp_path: Path) -> None:
    with serving(b=OBJECTS) as server:
        assert fence_store(server, tmp_path, prefix="").level("") == StoreLevel(("ws", "wsx"))


def test_level_without_keys_is_empty(tmp_path: Path) -> None:
    with serving(b=OBJECTS) as server:
        assert fence_store(server, tmp_path).level("absent") == StoreLevel()


def test_level_is_known_next_to_a_key_below_it_that_cannot_be_listed(tmp_path: Path) -> None:
    with serving(b=OBJECTS | {"ws/exp/train//x": b"x"}) as server:
        assert fence_store(server, tmp_path).level("exp").folders == ("export", "train")


def test_level_with_a_key_that_cannot_be_listed_is_incomplete(tmp_path: Path) -> None:
    with serving(b=OBJECTS | {"ws/exp/a\x01b": b"x"}) as server:
        assert fence_store(server, tmp_path).level("exp") == StoreLevel(complete=False)


def test_level_of_many_folders_has_all_pages(tmp_path: Path) -> None:
    with serving(b={f"ws/{number:05}/owner.json": b"{}" for number in range(2500)}) as server:
        assert len(fence_store(server, tmp_path).level("").folders) == 2500
