"""Server that answers like Cloud Storage's XML API, as far as objects are written, listed, read, and deleted.

Requests need a token that is signed with the key of the stub's service account, as the library makes it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PAGE = 1000
ACCOUNT = "reader@tests.example"


@dataclass(frozen=True)
class Stored:
    """Object with its generation, which is also its time, and the seconds by which the clock was shifted."""

    content: bytes
    generation: int
    shift: int = 0

    @property
    def etag(self) -> str:
        """Return the etag, without quotes."""
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()

    @property
    def modified(self) -> int:
        """Return the time of its write in seconds since 1970."""
        return 1_700_000_000 + self.generation + self.shift

    def headers(self) -> dict[str, str]:
        """Return the headers of an answer about it."""
        return {
            "ETag": f'"{self.etag}"',
            "Last-Modified": formatdate(self.modified, usegmt=True),
            "x-goog-generation": str(self.generation),
            "x-goog-metageneration": "1",
            "x-goog-stored-content-length": str(len(self.content)),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def new_account() -> str:
    """Return a service account's key in JSON, as a Secret has it."""
    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {"type": "service_account", "client_email": ACCOUNT, "private_key_id": "1", "private_key": private.decode()}
    )


class GcsStub(ThreadingHTTPServer):
    """The stub with its buckets.

    Attributes:
        account: key of the service account whose tokens are accepted.
        buckets: objects by bucket and key.
        uploads: parts of uploads that aren't complete, by id and number.
        clock_shift: seconds by which the times of further writes are shifted.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.account = new_account()
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.lock = threading.Lock()
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.clock_shift = 0
        self._generation = 0
        key = serialization.load_pem_private_key(json.loads(self.account)["private_key"].encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._public = key.public_key()

    @property
    def url(self) -> str:
        """Return the URL of the stub."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore connections that a client has closed."""

    def knows(self, token: str) -> bool:
        """Return whether the account has signed a token."""
        signed, _, signature = token.rpartition(".")
        try:
            self._public.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            return bool(json.loads(_decoded(signed.partition(".")[2]))["iss"] == ACCOUNT)
        except (InvalidSignature, ValueError, KeyError):
            return False

    def put(self, bucket: str, key: str, content: bytes) -> Stored:
        """Store an object with a new generation."""
        self._generation += 1
        stored = Stored(content, self._generation, self.clock_shift)
        self.buckets[bucket][key] = stored
        return stored


@contextmanager
def serving_gcs() -> Iterator[GcsStub]:
    """Run the stub."""
    stub = GcsStub()
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        stub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GcsStub
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
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            answer = self._answer_to(body)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _answer_to(self, body: bytes) -> _Answer:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
        if not self.server.knows((self.headers.get("Authorization") or "").removeprefix("Bearer ")):
            return _refusal(401, "AuthenticationRequired", "Authentication required.")
        objects = self.server.buckets.get(bucket)
        if objects is None:
            return _refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
        if not key:
            return _listing(bucket, objects, {name: values[0] for name, values in parse_qs(parts.query).items()})
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if query.keys() & {"uploads", "uploadId"}:
            return self._upload(bucket, key, query, body)
        return self._of_object(bucket, key, body)

    def _of_object(self, bucket: str, key: str, body: bytes) -> _Answer:
        objects = self.server.buckets[bucket]
        stored = objects.get(key)
        expected = self.headers.get("x-goog-if-generation-match")
        if expected is not None and int(expected) != (stored.generation if stored else 0):
            return _NOT_MET
        if self.command == "PUT":
            return _Answer(200, headers=tuple(self.server.put(bucket, key, body).headers().items()))
        return _NO_KEY if stored is None else self._of_existing(objects, key, stored)

    def _upload(self, bucket: str, key: str, query: dict[str, str], body: bytes) -> _Answer:
        """Return the answer to a request of an upload in parts."""
        uploads = self.server.uploads
        upload = query.get("uploadId")
        if upload is None:
            upload = secrets.token_hex(8)
            uploads[upload] = {}
            name = f"<UploadId>{upload}</UploadId>"
            begun = f"<InitiateMultipartUploadResult><Key>{escape(key)}</Key>{name}</InitiateMultipartUploadResult>"
            return _Answer(200, begun.encode())
        if upload not in uploads:
            return _refusal(404, "NoSuchUpload", "The requested upload was not found.")
        if self.command == "DELETE":
            del uploads[upload]
            return _Answer(204)
        if self.command == "PUT":
            uploads[upload][int(query["partNumber"])] = body
            return _Answer(200, headers=(("ETag", f'"{Stored(body, 0).etag}"'),))
        parts = uploads.pop(upload)
        stored = self.server.put(bucket, key, b"".join(parts[number] for number in sorted(parts)))
        ended = f"<CompleteMultipartUploadResult><ETag>&quot;{stored.etag}&quot;</ETag></CompleteMultipartUploadResult>"
        return _Answer(200, ended.encode(), tuple(stored.headers().items()))

    def _of_existing(self, objects: dict[str, Stored], key: str, stored: Stored) -> _Answer:
        if self.command == "DELETE":
            del objects[key]
            return _Answer(204)
        return self._object(stored)

    def _object(self, stored: Stored) -> _Answer:
        if self.headers.get("If-Match", f'"{stored.etag}"').strip('"') != stored.etag:
            return _NOT_MET
        headers = stored.headers()
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not found:
            return _Answer(200, stored.content, tuple(headers.items()))
        size = len(stored.content)
        start, end = int(found[1]), min(int(found[2] or size) + 1, size)
        if start >= size:
            return _refusal(416, "InvalidRange", "The requested range cannot be satisfied.")
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return _Answer(206, stored.content[start:end], tuple(headers.items()))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _refusal(status: int, code: str, message: str) -> _Answer:
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return _Answer(status, body.encode(), (("Content-Type", "application/xml; charset=UTF-8"),))


_NOT_MET = _refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
_NO_KEY = _refusal(404, "NoSuchKey", "The specified key does not exist.")


def _iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _listing(bucket: str, objects: dict[str, Stored], query: dict[str, str]) -> _Answer:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    after = query.get("continuation-token") or query.get("start-after", "")
    names: dict[str, str] = {}
    for key in sorted(objects):
        rest = key[len(prefix) :]
        folder = delimiter is not None and delimiter in rest
        name = prefix + rest.partition(delimiter or "/")[0] + (delimiter or "") if folder else key
        if key.startswith(prefix) and name > after:
            names[name] = "" if folder else key
    page = list(names.items())[:PAGE]
    more = len(names) > PAGE
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><Generation>{objects[key].generation}</Generation>"
        f'<LastModified>{_iso(objects[key].modified)}</LastModified><ETag>"{objects[key].etag}"</ETag>'
        f"<Size>{len(objects[key].content)}</Size></Contents>"
        if key
        else f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
        for name, key in page
    )
    token = f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>" if more else ""
    body = (
        "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
        f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
    )
    return _Answer(200, body.encode(), (("Content-Type", "application/xml; charset=UTF-8"),))
