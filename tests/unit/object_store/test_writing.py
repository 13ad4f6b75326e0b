"""Requests that change a store, and what their refusals mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.object_store.exchange import StoreRequest
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.fence.records import ObjectVersion
from maskrcnn_trainer.object_store.writing import (
    Upload,
    WriteOutcome,
    create_request,
    delete_request,
    overwrite_request,
    update_request,
    upload_request,
)

VERSION = ObjectVersion('"e"', "7")
CREATE, UPDATE, DELETE, OVERWRITE = "create", "update", "delete", "overwrite"


def request(kind: str, scheme: str = "s3") -> StoreRequest:
    return {
        CREATE: create_request("k", b"x", scheme),
        UPDATE: update_request("k", b"x", VERSION, scheme),
        DELETE: delete_request("k", scheme),
        OVERWRITE: overwrite_request("k", b"x"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "status", "code", "outcome"),
    [
        (CREATE, 412, "PreconditionFailed", WriteOutcome.EXISTS),
        (CREATE, 304, "", WriteOutcome.EXISTS),
        (CREATE, 409, "ConditionalRequestConflict", WriteOutcome.EXISTS),
        (CREATE, 409, "BlobAlreadyExists", WriteOutcome.EXISTS),
        (UPDATE, 412, "PreconditionFailed", WriteOutcome.CHANGED),
        (UPDATE, 412, "ConditionNotMet", WriteOutcome.CHANGED),
        (UPDATE, 409, "ConditionalRequestConflict", WriteOutcome.EXISTS),
        (UPDATE, 404, "NoSuchKey", WriteOutcome.ABSENT),
        (UPDATE, 404, "", WriteOutcome.ABSENT),
        (DELETE, 404, "", WriteOutcome.ABSENT),
        (DELETE, 404, "BlobNotFound", WriteOutcome.ABSENT),
        (DELETE, 403, "AccessDenied", WriteOutcome.FORBIDDEN),
        (DELETE, 403, "", WriteOutcome.FORBIDDEN),
        (DELETE, 409, "SnapshotsPresent", WriteOutcome.FORBIDDEN),
    ],
)
def test_refusal_about_the_object_is_an_answer(kind: str, status: int, code: str, outcome: WriteOutcome) -> None:
    assert request(kind).answer_of(Failure(FailureKind.ANSWER, status, code)) is outcome


@pytest.mark.parametrize(
    ("kind", "scheme", "status", "code"),
    [
        (CREATE, "s3", 404, "NoSuchBucket"),
        (CREATE, "s3", 404, ""),
        (CREATE, "s3", 403, "AccessDenied"),
        (CREATE, "s3", 409, "OperationAborted"),
        (CREATE, "az", 409, "BlobImmutableDueToPolicy"),
        (UPDATE, "az", 412, "LeaseIdMissing"),
        (UPDATE, "az", 404, "ContainerNotFound"),
        (UPDATE, "s3", 404, "XAdminUserNotFound"),
        (UPDATE, "s3", 503, "SlowDown"),
        (DELETE, "s3", 404, "NoSuchBucket"),
        (DELETE, "s3", 403, "InvalidAccessKeyId"),
        (DELETE, "s3", 403, "ExpiredToken"),
        (DELETE, "s3", 409, "OperationAborted"),
        (OVERWRITE, "s3", 409, ""),
        (OVERWRITE, "s3", 412, ""),
    ],
)
def test_refusal_about_anything_else_is_a_failure(kind: str, scheme: str, status: int, code: str) -> None:
    assert request(kind, scheme).answer_of(Failure(FailureKind.ANSWER, status, code)) is None


@pytest.mark.parametrize("kind", [CREATE, UPDATE, DELETE])
def test_failure_without_an_answer_is_never_an_answer(kind: str) -> None:
    failures = [Failure(other, 412) for other in FailureKind if other is not FailureKind.ANSWER]
    assert [request(kind).answer_of(failure) for failure in failures] == [None] * len(failures)


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        (ObjectVersion('"e"', "7"), {"e_tag": '"e"', "version": "7"}),
        (ObjectVersion('"e"'), {"e_tag": '"e"'}),
        (ObjectVersion(None, "7"), {"version": "7"}),
    ],
)
def test_update_leaves_out_the_part_that_the_store_does_not_have(version: ObjectVersion, mode: dict[str, str]) -> None:
    assert update_request("k", b"x", version, "s3").message["mode"] == mode


def test_bytes_that_are_sent_again_are_counted_once() -> None:
    counted: list[int] = []
    request = upload_request(Upload("k", Path("file"), 10, "0" * 64, counted.append))
    for sent in (3, 6, 3, 6, 10):
        request.on_sent(sent)
    assert counted == [3, 3, 4]
