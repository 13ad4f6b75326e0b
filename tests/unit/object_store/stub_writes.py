"""Writes and deletions of the stub server, as S3, Cloud Storage's XML API, and Azure answer them."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tests.unit.object_store.stub_answers import Answer, Seen, refusal

BATCH = "batch_of_the_stub"


def etag_of(content: bytes) -> str:
    """Return the etag of an object that was written in one request."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class StubBucket:
    """Bucket that takes writes.

    Attributes:
        objects: content by key.
        generations: of the keys that were written here, as Cloud Storage counts them.
        parts: of uploads that aren't complete, by name of the upload and of the part.
    """

    objects: dict[str, bytes]
    generations: dict[str, int] = field(default_factory=dict)
    parts: dict[str, dict[str, bytes]] = field(default_factory=dict)
    count: int = 0

    def generation(self, key: str) -> int:
        """Return the generation of an object; 0 if there is none."""
        return self.generations.get(key, 1) if key in self.objects else 0

    def answer(self, seen: Seen, key: str) -> Answer:
        """Return the answer to a request that isn't a read."""
        azure = "x-ms-version" in seen.headers
        if seen.method == "DELETE":
            return self._delete(key, azure=azure)
        if seen.method == "POST" and seen.query.get("comp") == "batch":
            return self._batch(seen)
        if seen.query.keys() & {"uploads", "uploadId"}:
            return self._multipart(seen, key)
        if azure and "comp" in seen.query:
            return self._blocks(seen, key)
        return self._refused(seen, key, azure=azure) or self._stored(key, seen.body)

    def _stored(self, key: str, content: bytes) -> Answer:
        self.count += 1
        self.generations[key] = self.generation(key) + self.count
        self.objects[key] = content
        headers = {"ETag": f'"{etag_of(content)}"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        return Answer(201, headers={**headers, "x-goog-generation": str(self.generation(key))})

    def _refused(self, seen: Seen, key: str, *, azure: bool) -> Answer | None:
        generation = seen.headers.get("x-goog-if-generation-match")
        if generation is not None:
            return None if int(generation) == self.generation(key) else refusal(412, "PreconditionFailed")
        if seen.headers.get("if-none-match") == "*" and key in self.objects:
            return refusal(409, "BlobAlreadyExists") if azure else refusal(412, "PreconditionFailed")
        expected = seen.headers.get("if-match")
        if expected is None or (key in self.objects and expected == f'"{etag_of(self.objects[key])}"'):
            return None
        if key not in self.objects and not azure:
            return refusal(404, "NoSuchKey")
        return refusal(412, "ConditionNotMet" if azure else "PreconditionFailed")

    def _delete(self, key: str, *, azure: bool) -> Answer:
        existed = self.objects.pop(key, None) is not None
        # S3 answers alike for an absent object
        return Answer(202 if azure else 204) if existed or not azure else refusal(404, "BlobNotFound")

    def _batch(self, seen: Seen) -> Answer:
        """Return the answer to a batch of deletions of Azure."""
        answers = b""
        for number, path in enumerate(re.findall(rb"DELETE (\S+) HTTP/1.1", seen.body)):
            key = unquote(urlsplit(path.decode()).path).lstrip("/").partition("/")[2]
            status = self._delete(key, azure=True).status
            answers += (
                f"--{BATCH}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {status} Answer\r\nx-ms-request-id: 1\r\n\r\n"
            ).encode()
        headers = {"Content-Type": f"multipart/mixed; boundary={BATCH}"}
        return Answer(202, answers + f"--{BATCH}--\r\n".encode(), headers)

    def _multipart(self, seen: Seen, key: str) -> Answer:
        """Return the answer to a request of an upload in parts of S3 or Cloud Storage."""
        upload = seen.query.get("uploadId")
        if upload is None:
            self.count += 1
            self.parts[str(self.count)] = {}
            body = f"<InitiateMultipartUploadResult><UploadId>{self.count}</UploadId></InitiateMultipartUploadResult>"
            return Answer(200, body.encode())
        parts = self.parts[upload]
        if seen.method == "PUT":
            parts[seen.query["partNumber"]] = seen.body
            return Answer(200, headers={"ETag": f'"{etag_of(seen.body)}"'})
        self._stored(key, b"".join(parts[number] for number in sorted(self.parts.pop(upload), key=int)))
        return Answer(200, b"<CompleteMultipartUploadResult><ETag>&quot;x&quot;</ETag></CompleteMultipartUploadResult>")

    def _blocks(self, seen: Seen, key: str) -> Answer:
        """Return the answer to a request of an upload in blocks of Azure."""
        if seen.query["comp"] == "block":
            self.parts.setdefault(key, {})[seen.query["blockid"]] = seen.body
            return Answer(201)
        blocks = self.parts.pop(key, {})
        names = re.findall(rb"<(?:Latest|Uncommitted)>([^<]+)<", seen.body)
        assert all(base64.b64decode(name) for name in names)
        return self._stored(key, b"".join(blocks[name.decode()] for name in names))
