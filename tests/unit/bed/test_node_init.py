"""Wait of a node for its own cable, whatever interfaces the machine has."""

from __future__ import annotations

import pytest
from tests.cluster import node_init


def test_node_waits_for_an_interface_of_its_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # /sys/class/net shows the machine's interfaces, often including an eth0
    seen = [[(1, "lo")], [(1, "lo"), (2, "inner1")], [(1, "lo"), (2, "eth0")]]
    monkeypatch.setattr("socket.if_nameindex", lambda: seen.pop(0))
    monkeypatch.setattr("time.sleep", lambda _: None)

    node_init.wait_for_cable()

    assert seen == []


def test_node_without_cable_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo")])
    monkeypatch.setattr(node_init, "CABLE_SECONDS", 0.0)

    with pytest.raises(SystemExit, match="no network cable was connected"):
        node_init.wait_for_cable()
