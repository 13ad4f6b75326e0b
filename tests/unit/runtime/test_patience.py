"""Time at which a status reports that the API server fails or rejects."""

from __future__ import annotations

import pytest

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.cache import ExperimentEntry
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound, StatusRefused
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.core.notice import Notice
from maskrcnn_operator.runtime.patience import PATIENCE_SECONDS, QUIET_SECONDS, REFUSALS_UNTIL_REPORTED, Patience

KEY = Key("ns", "nuclei")
UNAVAILABLE = ApiError(503, "ServiceUnavailable", "etcd has no leader")
INVALID = StatusRefused(422, "Invalid", "status.steps[0].exitCode: too large")


def entry(uid: str = "exp-1", generation: int = 1) -> ExperimentEntry:
    return ExperimentEntry(uid, 7, generation, None)


class Watch:
    """Patience with a clock that the test sets."""

    def __init__(self, kept: int = 100) -> None:
        self.now = 1000.0
        self.patience = Patience(lambda: self.now, kept)
        self.reasons: set[str] = set()

    def fail(
        self, error: ApiError = UNAVAILABLE, *, after: float = 0.0, of: ExperimentEntry | None = None, key: Key = KEY
    ) -> Notice | None:
        self.now += after
        said = self.patience.failed(key, of or entry(), error, self.reasons)
        if said is not None:
            self.patience.reported(key, said, error)
            self.reasons = {said.reason.value}
        return said


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_failures_of_two_minutes_are_reported_with_the_last_error(watch: Watch) -> None:
    assert watch.fail() is None
    assert watch.fail(after=PATIENCE_SECONDS - 0.5) is None
    said = watch.fail(ApiError(500, "InternalError", "leader changed"), after=0.5)
    assert said is not None
    assert (said.reason, said.stalled) == (Reason.API_SERVER_ERROR, False)
    assert said.message.endswith("500 InternalError: leader changed")


def test_limits_are_those_of_the_documentation() -> None:
    assert (PATIENCE_SECONDS, REFUSALS_UNTIL_REPORTED) == (120.0, 3)


def test_success_restarts_the_count(watch: Watch) -> None:
    watch.fail()
    watch.patience.succeeded(KEY)
    assert watch.fail(after=PATIENCE_SECONDS) is None
    assert watch.fail(after=PATIENCE_SECONDS) is not None


def test_same_error_is_reported_once_and_another_again(watch: Watch) -> None:
    watch.fail()
    assert watch.fail(after=PATIENCE_SECONDS) is not None
    assert watch.fail(after=60.0) is None
    assert watch.fail(ApiError(503, "ServiceUnavailable", "other words"), after=60.0) is None
    assert watch.fail(ApiError(403, "Forbidden", "cannot create"), after=60.0) is not None


def test_notice_removed_by_an_accepted_status_is_written_again(watch: Watch) -> None:
    watch.fail()
    watch.fail(after=PATIENCE_SECONDS)
    watch.reasons = {"Running"}
    assert watch.fail(after=60.0) is not None


def test_notice_that_could_not_be_written_is_tried_again(watch: Watch) -> None:
    watch.fail()
    watch.now += PATIENCE_SECONDS
    assert watch.patience.failed(KEY, entry(), UNAVAILABLE) is not None
    assert watch.patience.failed(KEY, entry(), UNAVAILABLE) is not None


def test_conflict_is_not_a_failure_of_the_server(watch: Watch) -> None:
    for _ in range(10):
        assert watch.fail(Conflict(409, "Conflict", "modified"), after=60.0) is None
    assert len(watch.patience) == 0


def test_failure_long_ago_does_not_count(watch: Watch) -> None:
    watch.fail()
    assert watch.fail(after=QUIET_SECONDS + 1) is None


def test_new_experiment_of_the_name_restarts_the_count(watch: Watch) -> None:
    watch.fail()
    assert watch.fail(after=PATIENCE_SECONDS, of=entry("exp-2")) is None


@pytest.mark.parametrize("error", [NotFound(404, "NotFound", "no namespace"), ApiError(0, "TimeoutError", "")])
def test_every_other_failure_counts(watch: Watch, error: ApiError) -> None:
    watch.fail(error)
    assert watch.fail(error, after=PATIENCE_SECONDS) is not None


def test_third_rejection_of_a_status_is_reported_at_once(watch: Watch) -> None:
    said = [watch.fail(INVALID, after=0.1) for _ in range(REFUSALS_UNTIL_REPORTED + 2)]
    assert said[: REFUSALS_UNTIL_REPORTED - 1] == [None] * (REFUSALS_UNTIL_REPORTED - 1)
    assert said[REFUSALS_UNTIL_REPORTED:] == [None, None]
    third = said[REFUSALS_UNTIL_REPORTED - 1]
    assert third is not None
    assert (third.reason, third.stalled) == (Reason.STATUS_REFUSED, True)
    assert third.message.endswith("422 Invalid: status.steps[0].exitCode: too large")


def test_refusals_of_another_generation_do_not_count(watch: Watch) -> None:
    for _ in range(REFUSALS_UNTIL_REPORTED - 1):
        watch.fail(INVALID)
    assert watch.fail(INVALID, of=entry(generation=2)) is None


def test_refusals_before_a_success_do_not_count(watch: Watch) -> None:
    for _ in range(REFUSALS_UNTIL_REPORTED - 1):
        watch.fail(INVALID)
    watch.patience.succeeded(KEY)
    assert watch.fail(INVALID) is None


def test_rejected_status_stays_reported_while_the_server_fails(watch: Watch) -> None:
    for _ in range(REFUSALS_UNTIL_REPORTED):
        watch.fail(INVALID)
    watch.fail(after=60.0)
    assert watch.fail(after=60.0) is None
    assert watch.fail(INVALID) is None


def test_memory_is_bounded_by_those_that_failed_last() -> None:
    watch = Watch(kept=10)
    for number in range(100):
        watch.fail(key=Key("ns", str(number)))
    assert len(watch.patience) == 10
    assert watch.fail(after=PATIENCE_SECONDS, key=Key("ns", "99")) is not None
    assert watch.fail(key=Key("ns", "0")) is None


def test_lasting_failure_is_counted_from_its_start(watch: Watch) -> None:
    said = []
    for _ in range(10):
        watch.now += PATIENCE_SECONDS / 2
        said.append(watch.patience.failed(KEY, entry(), UNAVAILABLE) is not None)
    assert said == [False, False, *[True] * 8]


def test_same_error_is_reported_for_a_new_generation_too(watch: Watch) -> None:
    watch.fail()
    assert watch.fail(after=PATIENCE_SECONDS) is not None
    assert watch.fail(of=entry(generation=2)) is not None


def test_answers_of_one_status_differ_by_their_reasons(watch: Watch) -> None:
    watch.fail()
    assert watch.fail(ApiError(0, "TimeoutError", ""), after=PATIENCE_SECONDS) is not None
    assert watch.fail(ApiError(0, "ClientConnectorError", "")) is not None


def test_experiment_that_keeps_failing_is_not_forgotten_for_a_new_one() -> None:
    watch = Watch(kept=2)
    for name in ("old", "other", "old", "new"):
        watch.fail(key=Key("ns", name))
    assert watch.fail(after=PATIENCE_SECONDS, key=Key("ns", "old")) is not None
