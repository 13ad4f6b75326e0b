"""Prove on a real bucket what results in object storage rely on: conditional writes, races, uploads, and permissions.

    prove_store.py URL [--store-config FILE]

Each line is a request and its answer. Objects are written below URL/prove-RANDOM alone, and deleted at the end. The
exit code is 0 if all answers are right.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_OK, InvalidInput, TaskError
from maskrcnn_trainer.object_store.client import StoreClient
from maskrcnn_trainer.object_store.connection import StoreConnection, connection_for
from maskrcnn_trainer.object_store.exchange import Exchange, StoreRequest
from maskrcnn_trainer.object_store.fence.records import ObjectVersion
from maskrcnn_trainer.object_store.helper_writes import UPLOAD_PART
from maskrcnn_trainer.object_store.retries import RetryPolicy
from maskrcnn_trainer.object_store.writing import Upload, WriteOutcome, create_request, update_request
from maskrcnn_trainer.shared.object_url import parse_url
from maskrcnn_trainer.spec.object_stores import local_stores
from maskrcnn_trainer.spec.store_config import read_store_config

RACERS = 16
ROUNDS = 5
SECONDS_OF_LINK = 60.0
POLICY = RetryPolicy(limit=60.0, limit_of_new_permission=0.0)
WRITTEN, DONE = "written", "done"
REFUSED = (WriteOutcome.CHANGED.name.lower(), WriteOutcome.EXISTS.name.lower())
ABSENT = (WriteOutcome.ABSENT.name.lower(), WriteOutcome.CHANGED.name.lower())


@dataclass(frozen=True)
class Row:
    """A request, and its answer.

    Attributes:
        request: what was sent.
        expected: answers of which one is right; empty: each is.
        answer: of the store.
    """

    request: str
    expected: tuple[str, ...]
    answer: str

    @property
    def is_right(self) -> bool:
        """Return whether the answer is one of those that are expected."""
        return not self.expected or self.answer in self.expected

    def __str__(self) -> str:
        verdict = "ok" if self.is_right else f"WRONG, expected: {' or '.join(self.expected)}"
        return f"{self.request:<66}  {self.answer:<20}  {verdict if self.expected else ''}".rstrip()


class Prover:
    """Requests to a store below a prefix.

    Args:
        connection: how the store is reached.
        prefix: of all keys that are written; it is random, so that nothing else lies below it.
        rounds: number of races of each kind.
    """

    def __init__(self, connection: StoreConnection, prefix: str, *, rounds: int = ROUNDS) -> None:
        self._connection = connection
        self._prefix = prefix
        self._rounds = rounds
        self._client = StoreClient(connection, policy=POLICY)

    def __enter__(self) -> Prover:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def rows(self, directory: Path) -> Iterator[Row]:
        """Send all requests, and yield each with its answer.

        Args:
            directory: existing one for a few files.

        Raises:
            TaskError: the store fails, or refuses all writes.
        """
        yield from self._unconditional_writes()
        conditional = list(self._trials())
        yield from conditional
        if all(row.is_right for row in conditional):
            yield from self._conditional_writes()
            yield from self._late_requests()
            yield from self._races()
            yield from self._uploads(directory)
            yield from self._listings()
            yield from self._links()
        yield from self._deletions()

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _unconditional_writes(self) -> Iterator[Row]:
        self._client.overwrite(self._key("plain"), b"plain")
        yield Row("write an object without a condition", (WRITTEN,), WRITTEN)

    def _trials(self) -> Iterator[Row]:
        """Yield conditional writes that some stores don't have, so that all further rows would fail."""
        key = self._key("trial")
        created = self._answer_of_trial(lambda: self._client.create(key, b"first", is_trial=True))
        yield Row("write an object if it doesn't exist", (WRITTEN,), created)
        version = self._client.overwrite(key, b"second")
        updated = self._answer_of_trial(lambda: self._client.update(key, b"third", version, is_trial=True))
        yield Row("write an object if it is of a version", (WRITTEN,), updated)

    def _answer_of_trial(self, write: Callable[[], ObjectVersion | WriteOutcome]) -> str:
        try:
            return shown_answer(write())
        except InvalidInput as error:
            return f"no ({error.reason})"

    def _conditional_writes(self) -> Iterator[Row]:
        key = self._key("record")
        first = self._client.create(key, b"first")
        yield Row("create an object", (WRITTEN,), shown_answer(first))
        yield Row("create it again", REFUSED, shown_answer(self._client.create(key, b"again")))
        if not isinstance(first, ObjectVersion):
            return
        second = self._client.update(key, b"second", first)
        yield Row("update it from its version", (WRITTEN,), shown_answer(second))
        yield Row("update it from the version before", REFUSED, shown_answer(self._client.update(key, b"late", first)))
        yield Row("read it", ("second",), self._content(key))
        gone = self._client.update(self._key("absent"), b"x", first)
        yield Row("update an object that doesn't exist", ABSENT, shown_answer(gone))

    def _late_requests(self) -> Iterator[Row]:
        key = self._key("late")
        first = self._client.create(key, b"A")
        yield Row("create an object, whose answer counts as lost", (WRITTEN,), shown_answer(first))
        yield Row("create it again with the same content", REFUSED, shown_answer(self._client.create(key, b"A")))
        if not isinstance(first, ObjectVersion):
            return
        second = self._client.update(key, b"B", first)
        yield Row("update it, and count the answer as lost", (WRITTEN,), shown_answer(second))
        repeated = self._client.update(key, b"B", first)
        yield Row("repeat the update, as the library does", REFUSED, shown_answer(repeated))
        yield Row("read it: the update is in effect", ("B",), self._content(key))
        if not isinstance(second, ObjectVersion):
            return
        third = self._client.update(key, b"A", second)
        yield Row("update it to the first content", (WRITTEN,), shown_answer(third))
        back = self._client.update(key, b"C", first)
        yield Row("late update from the first version (contents of results are never equal)", (), shown_answer(back))

    def _races(self) -> Iterator[Row]:
        for number in range(self._rounds):
            key = self._key(f"created-{number}")
            yield self._race(
                f"{RACERS} creators at once, round {number + 1}",
                lambda content, key=key: create_request(key, content, self._connection.scheme),  # type: ignore[misc]
            )
        for number in range(self._rounds):
            key = self._key(f"updated-{number}")
            version = self._client.overwrite(key, b"before")
            yield self._race(
                f"{RACERS} updaters at once, round {number + 1}",
                lambda content, key=key, version=version: update_request(  # type: ignore[misc]
                    key, content, version, self._connection.scheme
                ),
            )

    def _race(self, what: str, request: Callable[[bytes], StoreRequest]) -> Row:
        exchange = Exchange(self._connection, concurrency=RACERS, policy=POLICY)
        try:
            requests: Iterable[StoreRequest] = [request(f"racer {number}".encode()) for number in range(RACERS)]
            answers = [answer for _, answer in exchange.run(iter(requests))]
        finally:
            exchange.close()
        winners = sum(not isinstance(answer, WriteOutcome) for answer in answers)
        return Row(what, ("1 winner",), f"{winners} winner{'' if winners == 1 else 's'}")

    def _uploads(self, directory: Path) -> Iterator[Row]:
        for name, size in (("small", 1000), ("parts", 2 * UPLOAD_PART + 1)):
            content = secrets.token_bytes(size)
            file, back = directory / name, directory / f"{name}-read"
            file.write_bytes(content)
            upload = Upload(self._key(name), file, size, hashlib.sha256(content).hexdigest())
            for _ in self._client.upload([upload]):
                yield Row(f"upload {size:,} bytes{' in parts' if size > UPLOAD_PART else ''}", (DONE,), DONE)
            info = self._client.head(upload.key)
            yield Row("look it up", (f"{size:,} bytes",), "absent" if info is None else f"{info.size:,} bytes")
            if info is not None:
                self._client.get_to_file(info, back)
                equal = back.read_bytes() == content
                yield Row("read it", ("the same bytes",), "the same bytes" if equal else "other bytes")

    def _listings(self) -> Iterator[Row]:
        expected = {self._key(name) for name in ("record", "late", "small", "parts")}
        found = {info.key: info for info in self._client.list(self._prefix)}
        missing = expected - found.keys()
        yield Row("list all objects", ("all listed",), "all listed" if not missing else f"{len(missing)} missing")
        time = "times rise"
        order = [self._key(name) for name in ("record", "parts")]
        if all(key in found for key in order) and found[order[0]].modified > found[order[1]].modified:
            time = "times fall"
        yield Row("compare the times of the first and the last object", ("times rise",), time)

    def _links(self) -> Iterator[Row]:
        try:
            url = self._client.link(self._key("record"), SECONDS_OF_LINK)
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the store's own address
                read = answer.read(100).decode(errors="replace")
        except (TaskError, OSError) as error:
            yield Row("sign a link, and read it without credentials", (), f"no: {type(error).__name__}")
            return
        yield Row("sign a link, and read it without credentials", ("second",), read)

    def _deletions(self) -> Iterator[Row]:
        keys = [info.key for info in self._client.list(self._prefix)]
        answers = list(self._client.delete(keys))
        refused = sum(outcome is WriteOutcome.FORBIDDEN for _, outcome in answers)
        # results can be written without this permission, but are never cleaned
        yield Row(f"delete {len(keys)} objects", (DONE,), DONE if not refused else f"{refused} refused")
        left = sum(1 for _ in self._client.list(self._prefix))
        yield Row("list them again", ("none",), "none" if not left else f"{left} left")
        deleted = list(self._client.delete([self._key("never")]))
        yield Row("delete an object that doesn't exist", (DONE,), DONE if len(deleted) == 1 else "no answer")

    def _content(self, key: str) -> str:
        found = self._client.read(key, 1000)
        return "absent" if found is None or found.content is None else found.content.decode(errors="replace")


def shown_answer(answer: ObjectVersion | WriteOutcome) -> str:
    """Return an answer to a write as the table has it."""
    return WRITTEN if isinstance(answer, ObjectVersion) else answer.name.lower()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", metavar="URL", help="s3://, gs://, or az:// of a bucket, or of a prefix in it")
    parser.add_argument("--store-config", metavar="FILE", help="object stores, as `maskrcnn artifacts` takes them")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="races of each kind (default %(default)s)")
    given = parser.parse_args(arguments)
    wrong = 0
    try:
        url = parse_url(given.url, "URL")
        stores = local_stores((), read_store_config(given.store_config)) if given.store_config else ()
        connection = connection_for(url, stores, os.environ)
        prefix = f"{url.key}/prove-{secrets.token_hex(8)}".lstrip("/")
        with tempfile.TemporaryDirectory() as folder, Prover(connection, prefix, rounds=given.rounds) as prover:
            for row in prover.rows(Path(folder)):
                wrong += not row.is_right
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()
    except TaskError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{'All answers are right' if not wrong else f'{wrong} answers are wrong'}.\n")
    return EXIT_OK if not wrong else EXIT_INVALID


if __name__ == "__main__":
    sys.exit(main())
