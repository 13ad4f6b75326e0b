"""Addresses of a relay between this machine and a cluster, and the table of ports that shows that it listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.cluster.bed import is_listened_on
from tests.cluster.relay import place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("", "127.0.0.1", 80)),
        ("/proc/7/ns/net/10.66.0.1:9000", ("/proc/7/ns/net", "10.66.0.1", 9000)),
    ],
)
def test_address_has_a_network_of_its_own_or_that_of_the_machine(text: str, expected: tuple[str, str, int]) -> None:
    assert place(text) == expected


def test_table_of_ports_has_a_port_while_it_is_listened_on() -> None:
    table = Path("/proc/self/net/tcp")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_listened_on(table, port)
    assert not is_listened_on(table, port)
