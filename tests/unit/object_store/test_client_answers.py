"""Sentence and exit code for each refusal that the providers document, through a client and its helper."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.object_store.clients import AT_ONCE, QUICK, client_of
from tests.unit.object_store.documented_answers import OF_THE_ANSWER, PASSING, REFUSED, Documented
from tests.unit.object_store.stub_server import Answer, Seen, etag_of, serving

from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_TRY_AGAIN, TaskError
from maskrcnn_trainer.object_store.client import ObjectInfo, StoreClient
from maskrcnn_trainer.object_store.explanations import REASONS_OF_REFUSALS

INFO = ObjectInfo("k", 1, etag_of(b"x"))
OPERATIONS: dict[str, Callable[[StoreClient, Path], object]] = {
    "looking up an object": lambda client, _: client.head("k"),
    "listing": lambda client, _: list(client.list("k")),
    "reading": lambda client, path: client.get_to_file(INFO, path),
}


def errors(answer: Answer, directory: Path, scheme: str) -> dict[str, TaskError]:
    """Return the error of each operation on a store that answers nothing else and is given up at once."""
    found = {}
    with serving(b={"k": b"x"}) as server, client_of(server, directory, scheme, policy=AT_ONCE) as client:
        server.plan = lambda _: answer
        for name, operation in OPERATIONS.items():
            with pytest.raises(TaskError) as caught:
                operation(client, directory / "file")
            found[name] = caught.value
    return found


def is_one_sentence(text: str) -> bool:
    return text.isprintable() and not re.search(r"[.!?](\s|$)", text)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refusal_is_one_sentence_with_the_url_and_what_is_right(tmp_path: Path, case: Documented) -> None:
    for name, error in errors(case.answer, tmp_path, case.scheme).items():
        text = str(error)
        assert text.startswith(f"{case.scheme}://b/k: {name} failed (HTTP {case.answer.status}")
        assert re.search(case.right, text)
        assert is_one_sentence(text)
        assert OF_THE_ANSWER not in text
        assert error.exit_code == EXIT_INVALID
        assert error.reason in REASONS_OF_REFUSALS


@pytest.mark.parametrize("case", PASSING, ids=str)
def test_failure_that_lasts_is_one_sentence_with_the_url(tmp_path: Path, case: Documented) -> None:
    for name, error in errors(case.answer, tmp_path, case.scheme).items():
        text = str(error)
        assert text.startswith(f"{case.scheme}://b/k: {name} failed (HTTP {case.answer.status}")
        assert is_one_sentence(text)
        assert OF_THE_ANSWER not in text
        assert (error.exit_code, error.reason) == (EXIT_TRY_AGAIN, "StoreUnavailable")
        assert re.search(case.right, text) or name == "looking up an object"


@pytest.mark.parametrize("case", PASSING, ids=str)
def test_failure_that_passes_is_retried(tmp_path: Path, case: Documented) -> None:
    waits: list[str] = []

    def twice(_: Seen) -> Answer | None:
        return case.answer if len(server.seen) <= 2 else None

    with serving(b={"k": b"x"}) as server:
        server.plan = twice
        with client_of(server, tmp_path, case.scheme, policy=QUICK, on_wait=waits.append) as client:
            client.get_to_file(INFO, tmp_path / "file")
        assert len(server.seen) == 3
    assert len(waits) == 2
    assert all(re.search(case.right, wait) and OF_THE_ANSWER not in wait for wait in waits)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_answer_without_a_body_is_explained_by_its_status(tmp_path: Path, status: int) -> None:
    right = {401: "refused the identity; correct AWS_ACCESS_KEY_ID", 403: "s3:ListBucket", 404: "no such bucket"}
    with serving(b={}) as server, client_of(server, tmp_path, policy=AT_ONCE) as client:
        server.plan = lambda _: Answer(status)
        with pytest.raises(
            TaskError, match=rf"^s3://b/k: listing failed \(HTTP {status}\): .*{right[status]}"
        ) as caught:
            list(client.list("k"))
    assert is_one_sentence(str(caught.value))


def test_endpoint_with_the_bucket_in_its_name_is_explained(tmp_path: Path) -> None:
    code = "<Error><Code>NoSuchKey</Code><Key>b</Key></Error>"
    with serving() as server, client_of(server, tmp_path, policy=AT_ONCE) as client:
        server.plan = lambda _: Answer(404, code.encode())
        with pytest.raises(TaskError, match="listing failed .*or the endpoint in objectStores") as caught:
            list(client.list("k"))
    assert (caught.value.exit_code, caught.value.reason) == (EXIT_INVALID, "BucketNotFound")
