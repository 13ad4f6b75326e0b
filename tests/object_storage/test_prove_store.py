"""The proof of a real bucket on each server."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.prove_store import main
from tests.object_storage.user_stores import UserStore, listed


def test_servers_prove_to_be_right(store: UserStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.server.fill(store.container, {"ws/mine": b"x"})
    # moto compares and writes without a lock: about one race in fifty has two winners
    rounds = 0 if store.server.name == "moto" else 5
    code = main([f"{store.url}/ws", "--store-config", str(store.config()), "--rounds", str(rounds)])
    table = capsys.readouterr().out
    assert code == 0, table
    assert table.count(" 1 winner ") == 2 * rounds
    with store.client() as client:
        assert listed(client).keys() == {"ws/mine"}
