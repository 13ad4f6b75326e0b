"""HTTP proxy in front of a server, which counts requests and bytes, and puts faults between client and server."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SERVER_SECONDS = 60
PIECE = 64 * 1024
_OF_CONNECTION = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Request:
    """A request as the proxy received it.

    Attributes:
        key: path below the proxy's root, decoded; empty for the root itself.
        query: first value by name.
        headers: values by name in lowercase.
    """

    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def is_list(self) -> bool:
        """Return whether it lists keys."""
        return "list-type" in self.query or self.query.get("comp") == "list"

    @property
    def is_read(self) -> bool:
        """Return whether it reads an object."""
        return self.method == "GET" and not self.is_list and bool(self.key)


@dataclass
class Passed:
    """A request with what the client got for it.

    Attributes:
        status: of the answer; 0 if there was none.
        body_bytes: bytes of the body that were sent to the client.
    """

    request: Request
    status: int = 0
    body_bytes: int = 0


@dataclass(frozen=True)
class Answer:
    """Answer in place of the server's.

    Attributes:
        stream: bytes that are sent in place of ``body``, of which few are in memory; None: the body is sent.
        announced: value of Content-Length with ``stream``; None: it is sent in chunks.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: int | None = None
    announced: int | None = None


@dataclass(frozen=True)
class LateRequest:
    """A request that a proxy has kept back.

    Attributes:
        request: as it arrived.
        path: with the query, as it was sent.
        headers: by name as they were sent.
    """

    request: Request
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    address: tuple[str, int]

    def deliver(self) -> Answer:
        """Pass the request on to the server, and return its answer, which no client gets."""
        way = http.client.HTTPConnection(*self.address, timeout=SERVER_SECONDS)
        try:
            return _answer_of(way, self)
        finally:
            way.close()


@dataclass
class Fault:
    """Behavior of the proxy for some requests; without ``answer`` the server's answer is sent.

    Attributes:
        matches: returns whether a request gets it.
        times: number of requests that get it; None: all.
        answer: sent in place of the server's answer.
        reset_after: bytes of the body after which the connection is reset.
        end_after: bytes of the body after which the connection is closed, though Content-Length announces all.
        hold_after: bytes of the body after which the proxy waits for its `release`.
        bytes_per_second: speed at which the body is sent.
        lost: whether the server's answer is lost: the connection is reset in place of it.
        before: called before the request is passed on.
        kept: called in place of passing the request on, which can be done later; the connection is reset.
        after: called once the server has answered, before the client gets the answer.
        twice: whether the request is passed on twice; the client gets the second answer.
    """

    matches: Callable[[Request], bool] = lambda request: request.is_read
    times: int | None = 1
    answer: Answer | None = None
    reset_after: int | None = None
    end_after: int | None = None
    hold_after: int | None = None
    bytes_per_second: float | None = None
    lost: bool = False
    before: Callable[[Request], None] = lambda _: None
    kept: Callable[[LateRequest], None] | None = None
    after: Callable[[Request], None] = lambda _: None
    twice: bool = False


_NO_FAULT = Fault()


class FaultProxy(ThreadingHTTPServer):
    """The proxy, with what it has seen.

    Args:
        target: URL of the server, ``http://``.
        root: path of the bucket or container at the server, such as ``/bucket``.
        certificate: file with key and certificate in PEM, with which the proxy answers by TLS.

    Attributes:
        passed: requests in the order of their arrival.
        faults: the first one that matches a request, and isn't used up, counts.
        answers: changes each answer of the server.
        problems: errors that functions of faults have raised.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str, root: str, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target)
        self.root = root.rstrip("/")
        self.passed: list[Passed] = []
        self.faults: list[Fault] = []
        self.answers: Callable[[Answer], Answer] = lambda answer: answer
        self.problems: list[BaseException] = []
        self.held = threading.Semaphore(0)
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            self._scheme = "https"

    @property
    def url(self) -> str:
        """Return the URL of the proxy, without a path."""
        return f"{self._scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that a client has closed."""

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note an error that is raised within a block, because no test sees those of the proxy's threads."""
        try:
            yield
        except BaseException as error:
            self.problems.append(error)
            raise

    def wait_until_held(self, requests: int = 1, seconds: float = 120.0) -> None:
        """Wait until so many requests are held; fail after some time."""
        for _ in range(requests):
            assert self.held.acquire(timeout=seconds), "no request has reached the place at which it is held"

    def release(self) -> None:
        """Continue all requests that are held, and hold no other one."""
        self._released.set()

    def forget(self) -> None:
        """Remove what was seen, and all faults."""
        with self._lock:
            self.passed, self.faults = [], []

    def reads(self, key: str | None = None) -> list[Passed]:
        """Return the reads of a key, or of all keys."""
        return [one for one in self.passed if one.request.is_read and key in (None, one.request.key)]

    def lists(self) -> list[Passed]:
        """Return the requests for a page of a listing."""
        return [one for one in self.passed if one.request.is_list]

    def bytes_read(self, key: str | None = None) -> int:
        """Return the bytes of objects that clients got."""
        return sum(one.body_bytes for one in self.reads(key) if 200 <= one.status < 300)

    def note(self, request: Request) -> tuple[Passed, Fault]:
        """Record a request, and return its record and its fault."""
        with self._lock:
            passed = Passed(request)
            self.passed.append(passed)
            for fault in self.faults:
                if fault.times != 0 and fault.matches(request):
                    fault.times = None if fault.times is None else fault.times - 1
                    return passed, fault
            return passed, _NO_FAULT

    def hold(self) -> None:
        """Wait for `release`."""
        self.held.release()
        self._released.wait()


@contextmanager
def proxy_to(target: str, root: str, certificate: Path | None = None) -> Iterator[FaultProxy]:
    """Run a proxy in front of a server."""
    proxy = FaultProxy(target, root, certificate)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.release()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy
    # headers and body in one packet: two would wait for an acknowledgment in between
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self._way: http.client.HTTPConnection | None = None

    def finish(self) -> None:
        if self._way is not None:
            self._way.close()
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        self._pass_on()

    def do_HEAD(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_DELETE(self) -> None:
        self._pass_on()

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        passed, fault = self.server.note(self._request())
        with self.server.noted():
            fault.before(passed.request)
            if fault.kept is not None:
                fault.kept(self._late(passed.request, body))
        if fault.kept is not None:
            self._reset()
            return
        answer = fault.answer or self._from_server(passed.request, body)
        if fault.twice:
            answer = self._from_server(passed.request, body)
        with self.server.noted():
            fault.after(passed.request)
        if fault.lost:
            self._reset()
        elif answer.stream is not None:
            self._send_stream(answer, answer.stream)
        else:
            self._send_answer(answer, passed, fault)

    def _send_answer(self, answer: Answer, passed: Passed, fault: Fault) -> None:
        length = len(answer.body)
        if self.command == "HEAD":
            length = next((int(value) for name, value in answer.headers.items() if name.lower() == "content-length"), 0)
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _OF_CONNECTION:
                self.send_header(name, value)
        if answer.status != 304:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        passed.status = answer.status
        if self.command != "HEAD":
            self._send_body(answer.body, passed, fault)

    def _reset(self) -> None:
        """Close the connection by RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        key = path.removeprefix(self.server.root).removeprefix("/") if path.startswith(self.server.root) else path
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return Request(self.command, key, query, {name.lower(): value for name, value in self.headers.items()})

    def _late(self, request: Request, body: bytes) -> LateRequest:
        target = self.server.target
        address = (target.hostname or "", target.port or 80)
        return LateRequest(request, self.path, dict(self.headers.items()), body, address)

    def _from_server(self, request: Request, body: bytes) -> Answer:
        late = self._late(request, body)
        if self._way is None:
            self._way = http.client.HTTPConnection(*late.address, timeout=SERVER_SECONDS)
        return self.server.answers(_answer_of(self._way, late))

    def _send_body(self, body: bytes, passed: Passed, fault: Fault) -> None:
        stops = [at for at in (fault.reset_after, fault.end_after, fault.hold_after) if at is not None]
        first = min([*stops, len(body)])
        self._send(body[:first], passed, fault)
        if fault.reset_after is not None:
            self._reset()
        elif fault.end_after is not None:
            self.close_connection = True
        elif first < len(body) or fault.hold_after is not None:
            self.server.hold()
            self._send(body[first:], passed, fault)

    def _send_stream(self, answer: Answer, size: int) -> None:
        """Send spaces until the client has enough of them, and close the connection."""
        self.close_connection = True
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.announced is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(answer.announced))
        self.end_headers()
        piece = b" " * PIECE if answer.announced is not None else b"%x\r\n%b\r\n" % (PIECE, b" " * PIECE)
        for _ in range(size // PIECE):
            self.wfile.write(piece)
        self.wfile.flush()

    def _send(self, body: bytes, passed: Passed, fault: Fault) -> None:
        piece = PIECE if fault.bytes_per_second is None else max(1, int(fault.bytes_per_second / 20))
        for start in range(0, len(body), piece):
            part = body[start : start + piece]
            self.wfile.write(part)
            self.wfile.flush()
            passed.body_bytes += len(part)
            if fault.bytes_per_second is not None:
                time.sleep(len(part) / fault.bytes_per_second)
        self.wfile.flush()


def _answer_of(way: http.client.HTTPConnection, sent: LateRequest) -> Answer:
    """Send a request to the server, and return its answer."""
    method = sent.request.method
    # the host is signed: it stays that of the proxy
    way.putrequest(method, sent.path, skip_host=True, skip_accept_encoding=True)
    for name, value in sent.headers.items():
        if name.lower() not in _OF_CONNECTION:
            way.putheader(name, value)
    if sent.body or method in ("PUT", "POST"):
        way.putheader("Content-Length", str(len(sent.body)))
    way.endheaders(sent.body or None)
    response = way.getresponse()
    headers: dict[str, str] = dict(response.getheaders())
    return Answer(response.status, response.read(), headers)
