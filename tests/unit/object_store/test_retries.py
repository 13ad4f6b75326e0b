"""Decisions about another try, with the time given."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.object_store.explanations import Operation, Reached
from maskrcnn_trainer.object_store.failures import (
    LOGIN,
    METADATA,
    POD_IDENTITY,
    UNUSABLE,
    WEB_IDENTITY,
    Failure,
    FailureKind,
)
from maskrcnn_trainer.object_store.retries import Episode, ObjectAbsent, ObjectChanged, RetryPolicy, error_of

FORBIDDEN = Failure(FailureKind.ANSWER, 403, "AccessDenied")
UNAUTHORIZED = Failure(FailureKind.ANSWER, 401)
EXPIRED_TOKEN = Failure(FailureKind.ANSWER, 400, "ExpiredToken")
UNAVAILABLE = Failure(FailureKind.ANSWER, 503)
THROTTLED = Failure(FailureKind.ANSWER, 503, "SlowDown")
RESET = Failure(FailureKind.INTERRUPTED)
UNTRUSTED = Failure(FailureKind.CERTIFICATE, detail="issuer")
NO_METADATA = Failure(FailureKind.CREDENTIALS, detail=METADATA, cause=FailureKind.UNREACHABLE)
NO_BUCKET = Failure(FailureKind.ANSWER, 404, "NoSuchBucket")


def wait(
    failure: Failure,
    *,
    after: float = 0.0,
    count: int = 1,
    answered: bool = False,
    in_pod: bool = False,
    jitter: float = 1.0,
) -> float | None:
    """Return the wait for a request whose first failure was ``after`` seconds ago."""
    return RetryPolicy().wait(
        failure,
        Operation.READ,
        "s3",
        episode=Episode(100.0, count),
        now=100.0 + after,
        answered=answered,
        in_pod=in_pod,
        jitter=jitter,
    )


def error(failure: Failure, *, answered: bool, in_pod: bool = False) -> TaskError:
    return error_of(failure, Operation.READ, "s3://b/k", Reached("s3", "b", in_pod=in_pod), answered=answered)


@pytest.mark.parametrize(
    "failure", [UNAVAILABLE, THROTTLED, RESET, Failure(FailureKind.TIMEOUT), Failure(FailureKind.HELPER)]
)
@pytest.mark.parametrize("answered", [False, True])
def test_passing_failure_is_tried_for_five_minutes_and_ends_with_75(failure: Failure, answered: bool) -> None:
    assert wait(failure, after=299.0, answered=answered) is not None
    assert wait(failure, after=300.0, answered=answered) is None
    assert isinstance(error(failure, answered=answered), TryAgain)


@pytest.mark.parametrize("failure", [FORBIDDEN, UNAUTHORIZED, EXPIRED_TOKEN, UNTRUSTED, NO_BUCKET])
def test_refusal_after_an_answer_is_tried_like_an_unavailable_store(failure: Failure) -> None:
    assert wait(failure, after=299.0, answered=True) is not None
    assert wait(failure, after=300.0, answered=True) is None
    assert isinstance(error(failure, answered=True), TryAgain)


@pytest.mark.parametrize("failure", [UNAUTHORIZED, EXPIRED_TOKEN, UNTRUSTED, NO_BUCKET])
def test_refusal_before_any_answer_is_the_users_mistake(failure: Failure) -> None:
    assert wait(failure, answered=False) is None
    assert isinstance(error(failure, answered=False), InvalidInput)


@pytest.mark.parametrize("failure", [FORBIDDEN, Failure(FailureKind.CREDENTIALS)])
def test_missing_permission_or_identity_is_tried_for_45_seconds_before_any_answer(failure: Failure) -> None:
    assert wait(failure, after=44.0, answered=False) is not None
    assert wait(failure, after=45.0, answered=False) is None
    assert isinstance(error(failure, answered=False), InvalidInput)


def test_refusal_after_other_failures_is_tried_for_45_seconds() -> None:
    unavailable = Episode.of(Episode.of(None, 0.0, refused=False), 100.0, refused=False)
    refused = Episode.of(Episode.of(unavailable, 200.0, refused=True), 230.0, refused=True)
    assert (refused.began, refused.count, refused.refused_since) == (0.0, 4, 200.0)

    def left(now: float) -> bool:
        return (
            RetryPolicy().wait(
                FORBIDDEN, Operation.READ, "s3", episode=refused, now=now, answered=False, in_pod=False, jitter=1.0
            )
            is not None
        )

    assert left(244.0)
    assert not left(245.0)


def test_other_failure_ends_the_time_of_a_refusal() -> None:
    refused = Episode.of(None, 0.0, refused=True)
    assert Episode.of(Episode.of(refused, 30.0, refused=False), 50.0, refused=True).refused_since == 50.0


@pytest.mark.parametrize("status", [0, 404])
def test_machine_without_an_identity_is_refused_at_once(status: int) -> None:
    assert wait(Failure(FailureKind.CREDENTIALS, status, detail=METADATA)) is None


@pytest.mark.parametrize("status", [429, 503])
def test_metadata_of_a_machine_that_fail_are_requested_for_five_minutes(status: int) -> None:
    failing = Failure(FailureKind.CREDENTIALS, status, detail=METADATA)
    assert wait(failing, after=299.0) is not None
    assert isinstance(error(failing, answered=False), TryAgain)


def test_machine_whose_metadata_cannot_be_reached_has_no_identity() -> None:
    assert wait(NO_METADATA) is None
    assert isinstance(error(NO_METADATA, answered=False), InvalidInput)


def test_pod_whose_metadata_cannot_be_reached_waits_for_five_minutes() -> None:
    assert wait(NO_METADATA, after=299.0, in_pod=True) is not None
    assert isinstance(error(NO_METADATA, answered=False, in_pod=True), TryAgain)


@pytest.mark.parametrize("in_pod", [False, True])
def test_source_of_an_identity_that_cannot_be_reached_is_requested_for_five_minutes(in_pod: bool) -> None:
    failing = Failure(FailureKind.CREDENTIALS, detail=POD_IDENTITY, cause=FailureKind.TIMEOUT)
    assert wait(failing, after=299.0, in_pod=in_pod) is not None
    assert wait(failing, after=300.0, in_pod=in_pod) is None
    assert isinstance(error(failing, answered=False, in_pod=in_pod), TryAgain)


@pytest.mark.parametrize("detail", [POD_IDENTITY, WEB_IDENTITY, LOGIN])
def test_refusal_of_a_source_of_an_identity_is_tried_for_45_seconds(detail: str) -> None:
    refused = Failure(FailureKind.CREDENTIALS, 403, detail=detail)
    assert wait(refused, after=44.0, in_pod=True) is not None
    assert wait(refused, after=45.0, in_pod=True) is None


def test_service_account_of_a_pod_may_get_its_identity_within_45_seconds() -> None:
    absent = Failure(FailureKind.CREDENTIALS, 404, detail=METADATA)
    assert wait(absent, after=44.0, in_pod=True) is not None
    assert wait(absent, after=45.0, in_pod=True) is None


@pytest.mark.parametrize("in_pod", [False, True])
def test_variables_that_cannot_be_used_are_refused_at_once(in_pod: bool) -> None:
    assert wait(Failure(FailureKind.CREDENTIALS, detail=UNUSABLE), in_pod=in_pod) is None


@pytest.mark.parametrize("answered", [False, True])
def test_object_that_cannot_be_read_is_not_tried_again(answered: bool) -> None:
    for failure in (
        Failure(FailureKind.UNLISTABLE, detail="a//b"),
        Failure(FailureKind.ANSWER, 403, "InvalidObjectState"),
    ):
        assert wait(failure, answered=answered) is None
        assert isinstance(error(failure, answered=answered), InvalidInput)


def test_waits_double_up_to_a_limit_and_have_jitter() -> None:
    waits = [wait(UNAVAILABLE, count=count, answered=True) for count in (1, 2, 3, 20, 5000)]
    assert waits == [0.2, 0.4, 0.8, 20.0, 20.0]
    assert wait(UNAVAILABLE, count=3, answered=True, jitter=0.0) == 0.4


def test_throttled_requests_wait_longer() -> None:
    assert wait(THROTTLED, answered=True) == 1.0


def test_last_try_is_at_the_limit() -> None:
    assert wait(UNAVAILABLE, after=295.0, count=20, answered=True) == 5.0


def test_absent_and_changed_objects_have_errors_of_their_own() -> None:
    assert isinstance(error(Failure(FailureKind.ANSWER, 404, "NoSuchKey"), answered=True), ObjectAbsent)
    assert isinstance(error(Failure(FailureKind.ANSWER, 412), answered=True), ObjectChanged)
    assert (ObjectAbsent.exit_code, ObjectChanged.exit_code) == (64, 75)


def wait_of(failure: Failure, operation: Operation, *, after: float, answered: bool) -> float | None:
    """Return the wait for a request whose refusal began ``after`` seconds ago, 100 s after its first failure."""
    return RetryPolicy().wait(
        failure,
        operation,
        "s3",
        episode=Episode(0.0, 3, refused_since=100.0),
        now=100.0 + after,
        answered=answered,
        in_pod=False,
        jitter=1.0,
    )


UNSUPPORTED = Failure(FailureKind.ANSWER, 501, "NotImplemented")


@pytest.mark.parametrize(("failure", "reason"), [(FORBIDDEN, "StorePermissionDenied"), (UNSUPPORTED, "StoreRefused")])
def test_write_refused_by_its_kind_is_tried_for_45_seconds_despite_other_answers(failure: Failure, reason: str) -> None:
    assert wait_of(failure, Operation.WRITE, after=44.0, answered=True) is not None
    assert wait_of(failure, Operation.WRITE, after=45.0, answered=True) is None
    found = error_of(failure, Operation.WRITE, "s3://b/k", Reached("s3", "b"), answered=True)
    assert (found.exit_code, found.reason) == (64, reason)


@pytest.mark.parametrize("operation", Operation)
def test_request_that_the_store_does_not_have_is_refused_at_once_before_any_answer(operation: Operation) -> None:
    assert wait_of(UNSUPPORTED, operation, after=0.0, answered=False) is None


@pytest.mark.parametrize("failure", [UNAUTHORIZED, EXPIRED_TOKEN, NO_BUCKET])
def test_write_refused_by_an_identity_or_a_bucket_that_was_accepted_is_tried_longer(failure: Failure) -> None:
    assert wait_of(failure, Operation.WRITE, after=199.0, answered=True) is not None
    found = error_of(failure, Operation.WRITE, "s3://b/k", Reached("s3", "b"), answered=True)
    assert isinstance(found, TryAgain)
