"""Server of the rendezvous: no client keeps it from ending, and no value is larger than those of a worker group."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from maskrcnn_trainer.launch.rendezvous import RendezvousBoard, RendezvousHost

LARGEST = 65_536 + 2 * 1024
"""Bytes of the largest value for two processes."""


@pytest.fixture
def host() -> Iterator[RendezvousHost]:
    """Return a rendezvous of two processes."""
    pytest.importorskip("horovod", reason="Horovod's rendezvous server")
    host = RendezvousHost.start("127.0.0.1", 0, nodes=2, processes=1)
    yield host
    host.close()


def first_line(host: RendezvousHost, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", host.port), timeout=30) as connection:
        connection.sendall(request)
        return connection.makefile("rb").readline().rstrip()


def test_client_that_drips_does_not_delay_the_end(host: RendezvousHost) -> None:
    connected, ended = threading.Event(), threading.Event()

    def drip() -> None:
        with socket.create_connection(("127.0.0.1", host.port)) as connection:
            connection.sendall(b"PUT /maskrcnn-launch/log-1 HTTP/1.0\r\nContent-Length: 1000\r\n\r\n")
            connected.set()
            deadline = time.monotonic() + 30
            while not ended.wait(0.1) and time.monotonic() < deadline:
                connection.sendall(b"x")

    client = threading.Thread(target=drip)
    client.start()
    assert connected.wait(10)
    # a request that comes later is answered, so the thread of the first one has started
    RendezvousBoard("127.0.0.1", host.port).write("1", b"here")
    begin = time.monotonic()
    host.close()
    seconds = time.monotonic() - begin
    ended.set()
    client.join()
    assert seconds < 10


@pytest.mark.parametrize("length", [b"300000000", b"9" * 5000, str(LARGEST + 1).encode()])
def test_value_that_is_too_large_is_refused_before_it_is_read(host: RendezvousHost, length: bytes) -> None:
    request = b"PUT /maskrcnn-launch/log-1 HTTP/1.0\r\nContent-Length: " + length + b"\r\n\r\n"
    assert first_line(host, request).startswith(b"HTTP/1.0 413")


@pytest.mark.parametrize("header", [b"", b"Content-Length: -1\r\n", b"Content-Length: many\r\n"])
def test_value_without_a_length_is_refused(host: RendezvousHost, header: bytes) -> None:
    request = b"PUT /maskrcnn-launch/log-1 HTTP/1.0\r\n" + header + b"\r\n"
    assert first_line(host, request).startswith(b"HTTP/1.0 411")


def test_addresses_of_all_processes_are_stored(host: RendezvousHost) -> None:
    client = http.client.HTTPConnection("127.0.0.1", host.port, timeout=30)
    client.request("PUT", "/global/0", body=b"x" * LARGEST)
    assert client.getresponse().status == 200
    client.close()
    client.request("GET", "/global/0")
    assert client.getresponse().read() == b"x" * LARGEST
    client.close()


def test_request_that_keeps_its_connection_is_answered(host: RendezvousHost) -> None:
    request = b"PUT /global/0 HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx"
    assert first_line(host, request).startswith(b"HTTP/1.0 200")


def test_request_that_fails_leaves_no_traceback(host: RendezvousHost, capfd: pytest.CaptureFixture[str]) -> None:
    assert first_line(host, b"PUT /a/b/c/d HTTP/1.0\r\nContent-Length: 0\r\n\r\n") == b""
    assert "Traceback" not in capfd.readouterr().err
