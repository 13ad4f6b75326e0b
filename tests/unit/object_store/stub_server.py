"""Small server that answers like S3, Cloud Storage's XML API, and Azure, one request after the other."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.unit.object_store.stub_answers import Answer, Plan, Seen, refusal
from tests.unit.object_store.stub_writes import StubBucket, etag_of

__all__ = ["PAGE", "Answer", "Plan", "Seen", "StubServer", "etag_of", "refusal", "serving"]

PAGE = 1000


class StubServer(ThreadingHTTPServer):
    """The server, with its objects and what it has seen.

    Attributes:
        objects: bytes by bucket and key.
        seen: requests, in the order of their arrival.
        plan: returns the answer to a request; None: the usual one.
        buckets: state of the buckets that were written to.
    """

    daemon_threads = True

    def __init__(self, certificate: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, dict[str, bytes]] = {}
        self.seen: list[Seen] = []
        self.plan: Plan = lambda _: None
        self.buckets: dict[str, StubBucket] = {}
        self.lock = threading.Lock()
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            self.scheme = "https"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that a client has closed."""

    def reads(self, key: str | None = None) -> list[Seen]:
        return [seen for seen in self.seen if not seen.is_list and (key is None or seen.path.endswith("/" + key))]


@contextmanager
def serving(certificate: str | None = None, **objects: dict[str, bytes]) -> Iterator[StubServer]:
    """Serve buckets with their objects."""
    server = StubServer(certificate)
    server.objects = dict(objects)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StubServer
    # headers and body in one packet: two would wait for an acknowledgment in between
    wbufsize = -1

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, unquote(parts.path), query, {k.lower(): v for k, v in self.headers.items()}, body)
        self.server.seen.append(seen)
        self._send(self.server.plan(seen) or self._usual(seen))

    def _usual(self, seen: Seen) -> Answer:
        bucket, _, key = seen.path.strip("/").partition("/")
        azure = "restype" in seen.query or "x-ms-version" in seen.headers
        objects = self.server.objects.get(bucket)
        if objects is None:
            return refusal(404, "ContainerNotFound" if azure else "NoSuchBucket")
        if seen.method in ("PUT", "POST", "DELETE"):
            with self.server.lock:
                return self.server.buckets.setdefault(bucket, StubBucket(objects)).answer(seen, key)
        if seen.is_list:
            return _azure_listing(seen, objects) if azure else _listing(seen, objects)
        content = objects.get(key)
        if content is None:
            return refusal(404, "BlobNotFound" if azure else "NoSuchKey")
        state = self.server.buckets.get(bucket, StubBucket(objects))
        return _object(seen, content, state.generation(key))

    def _send(self, answer: Answer) -> None:
        if answer.cut == 0:
            self._reset()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) if answer.announced is None else answer.announced))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.cut])
        self.wfile.flush()
        if answer.cut is not None:
            self._reset()
        if answer.announced is not None:
            self.close_connection = True

    def _reset(self) -> None:
        """Close the connection by RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _object(seen: Seen, content: bytes, generation: int) -> Answer:
    etag = etag_of(content)
    headers = {
        "ETag": f'"{etag}"',
        "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT",
        "x-goog-generation": str(generation),
    }
    if seen.headers.get("if-match", f'"{etag}"').strip('"') != etag:
        return refusal(412, "PreconditionFailed")
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", seen.headers.get("range", ""))
    if not found:
        return Answer(200, content, headers)
    start, end = int(found[1]), min(int(found[2]) + 1, len(content))
    if start >= end:
        return refusal(416, "InvalidRange")
    return Answer(206, content[start:end], {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(content)}"})


def _listing(seen: Seen, objects: dict[str, bytes]) -> Answer:
    """Return a page of ListObjectsV2, which both S3 and Cloud Storage answer."""
    prefix, delimiter = seen.query.get("prefix", ""), seen.query.get("delimiter")
    after = seen.query.get("continuation-token") or seen.query.get("start-after", "")
    keys = [key for key in sorted(objects) if key.startswith(prefix) and key > after]
    folders = sorted({prefix + k[len(prefix) :].split("/")[0] + "/" for k in keys if "/" in k[len(prefix) :]})
    if delimiter:
        keys = [key for key in keys if "/" not in key[len(prefix) :]]
    page = keys[:PAGE]
    more = len(keys) > PAGE
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified>"
        f"<ETag>&quot;{etag_of(objects[key])}&quot;</ETag><Size>{len(objects[key])}</Size></Contents>"
        for key in page
    )
    if delimiter:
        entries += "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders)
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
    body = (
        f"<ListBucketResult><Name>b</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
    )
    return Answer(200, body.encode(), {"Content-Type": "application/xml"})


def _azure_listing(seen: Seen, objects: dict[str, bytes]) -> Answer:
    """Return the answer of List Blobs, whose etags have no quotes."""
    prefix, delimiter = seen.query.get("prefix", ""), seen.query.get("delimiter")
    keys = [key for key in sorted(objects) if key.startswith(prefix)]
    folders = sorted({prefix + k[len(prefix) :].split("/")[0] + "/" for k in keys if "/" in k[len(prefix) :]})
    if delimiter:
        keys = [key for key in keys if "/" not in key[len(prefix) :]]
    blobs = "".join(
        f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:00 GMT</Last-Modified>"
        f"<Etag>{etag_of(objects[key])}</Etag><Content-Length>{len(objects[key])}</Content-Length>"
        "<Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
        for key in keys
    )
    if delimiter:
        blobs += "".join(f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>" for folder in folders)
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Prefix>{escape(prefix)}</Prefix>'
        f"<Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"
    )
    return Answer(200, body.encode(), {"Content-Type": "application/xml"})
