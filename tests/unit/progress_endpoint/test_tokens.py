"""Token reviews: made once in a while, without storing the token."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from maskrcnn_operator.cluster.errors import api_error
from maskrcnn_operator.cluster.rate_limit import RateLimit
from maskrcnn_operator.progress_endpoint.authorize import Peer
from maskrcnn_operator.progress_endpoint.refusal import ReportRefusal
from maskrcnn_operator.progress_endpoint.tokens import MAX_PENDING, TokenChecker


def review_of(pod: str) -> dict[str, Any]:
    extra = {
        "authentication.kubernetes.io/pod-name": [pod],
        "authentication.kubernetes.io/pod-uid": [f"{pod}-uid"],
    }
    user = {"username": "system:serviceaccount:lab:default", "extra": extra}
    return {"authenticated": True, "audiences": ["maskrcnn-operator"], "user": user}


class Reviews:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, token: str, audience: str) -> dict[str, Any]:
        self.asked.append((token, audience))
        await self.gate.wait()
        if self.down:
            raise api_error(0, "TimeoutError", "")
        return review_of(token) if token.startswith("pod") else {"authenticated": False, "error": "nonsense"}


async def test_accepted_token_is_reviewed_every_five_minutes(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock)
    for _ in range(3):
        assert await checker.check("pod-1", "10.0.0.1") == Peer("lab", "pod-1", "pod-1-uid")
    time.seconds += 299
    await checker.check("pod-1", "10.0.0.1")
    assert reviews.asked == [("pod-1", "maskrcnn-operator")]
    time.seconds += 2
    await checker.check("pod-1", "10.0.0.1")
    assert len(reviews.asked) == 2


async def test_rejected_token_is_reviewed_sooner(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock)
    for _ in range(3):
        found = await checker.check("nonsense", "10.0.0.1")
        assert isinstance(found, ReportRefusal)
        assert found.status == 401
    assert len(reviews.asked) == 1
    time.seconds += 31
    await checker.check("nonsense", "10.0.0.1")
    assert len(reviews.asked) == 2


async def test_failed_review_is_not_cached(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock)
    reviews.down = True
    with pytest.raises(Exception, match="TimeoutError"):
        await checker.check("pod-1", "10.0.0.1")
    reviews.down = False
    assert isinstance(await checker.check("pod-1", "10.0.0.1"), Peer)


async def test_new_tokens_of_one_address_are_limited_and_push_no_accepted_one_out(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock, RateLimit(1.0, 5, time.clock), max_tokens=2)
    await checker.check("pod-1", "10.0.0.1")
    answers = [await checker.check(f"guess-{index}", "10.0.0.9") for index in range(8)]
    assert [answer.status for answer in answers if isinstance(answer, ReportRefusal)] == [401] * 5 + [429] * 3
    assert isinstance(answers[-1], ReportRefusal)
    assert answers[-1].retry_after == pytest.approx(1.0)
    assert isinstance(await checker.check("pod-1", "10.0.0.9"), Peer)
    assert len(reviews.asked) == 6


async def test_invalid_token_is_not_reviewed(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock)
    for token in ("x" * 20_000, "pod-é"):
        found = await checker.check(token, "10.0.0.1")
        assert isinstance(found, ReportRefusal)
        assert found.status == 401
    assert not reviews.asked


async def test_the_token_itself_is_not_kept(time: Any) -> None:
    async def review(token: str, audience: str) -> dict[str, Any]:
        return review_of("pod-1")

    checker = TokenChecker(review, time.clock)
    await checker.check("pod-" + "secret" * 5, "10.0.0.1")
    gc.collect()
    assert "secret" not in repr(vars(checker))


async def test_a_token_that_comes_twice_at_once_is_reviewed_once(time: Any) -> None:
    reviews = Reviews()
    reviews.gate.clear()
    checker = TokenChecker(reviews, time.clock, RateLimit(1.0, 1, time.clock))
    checks = [asyncio.create_task(checker.check("pod-1", "10.0.0.1")) for _ in range(20)]
    await time.settle()
    reviews.gate.set()
    assert await asyncio.gather(*checks) == [Peer("lab", "pod-1", "pod-1-uid")] * 20
    assert len(reviews.asked) == 1


async def test_few_reviews_are_under_way_and_more_are_refused_until_they_end(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock)
    known = await checker.check("pod-known", "10.0.0.1")
    reviews.gate.clear()
    checks = [asyncio.create_task(checker.check(f"x{n}", f"10.0.{n % 30}.1")) for n in range(30 * 105)]
    await time.settle()
    assert len(reviews.asked) == 1 + MAX_PENDING
    refused = [check.result() for check in checks if check.done()]
    assert len(refused) == 30 * 105 - MAX_PENDING
    assert {
        (found.status, found.reason, found.retry_after) for found in refused if isinstance(found, ReportRefusal)
    } == {(503, "TooBusy", 5.0)}
    # known tokens are answered, and a caller may wait for a pending review
    assert await checker.check("pod-known", "10.0.0.1") == known
    again = asyncio.create_task(checker.check("x0", "10.0.0.1"))
    await time.settle()
    assert not again.done()
    reviews.gate.set()
    statuses = {found.status for found in await asyncio.gather(*checks, again) if isinstance(found, ReportRefusal)}
    assert statuses == {401, 503}
    assert await checker.check("pod-new", "10.0.0.1") == Peer("lab", "pod-new", "pod-new-uid")


async def test_refusal_because_of_other_reviews_does_not_count_against_an_address(time: Any) -> None:
    reviews = Reviews()
    reviews.gate.clear()
    checker = TokenChecker(reviews, time.clock, RateLimit(1.0, 1, time.clock))
    checks = [asyncio.create_task(checker.check(f"x{n}", f"10.0.{n}.1")) for n in range(MAX_PENDING)]
    await time.settle()
    for _ in range(5):
        found = await checker.check("pod-1", "10.1.0.1")
        assert isinstance(found, ReportRefusal)
        assert found.reason == "TooBusy"
    reviews.gate.set()
    await asyncio.gather(*checks)
    assert isinstance(await checker.check("pod-1", "10.1.0.1"), Peer)


async def test_a_review_that_takes_too_long_is_given_up_and_not_remembered(time: Any) -> None:
    reviews = Reviews()
    reviews.gate.clear()
    checker = TokenChecker(reviews, time.clock, patience=0.01)
    found = await checker.check("pod-1", "10.0.0.1")
    assert isinstance(found, ReportRefusal)
    assert (found.status, found.reason) == (503, "TooBusy")
    reviews.gate.set()
    assert isinstance(await checker.check("pod-1", "10.0.0.1"), Peer)


async def test_tokens_that_are_remembered_are_bounded_and_those_reviewed_last_stay(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock, max_tokens=2)
    for pod, seconds in {"pod-1": 200.0, "pod-2": 101.0}.items():
        await checker.check(pod, "10.0.0.1")
        time.seconds += seconds
    for pod in ("pod-1", "pod-3"):  # the first one's review has expired
        await checker.check(pod, "10.0.0.1")
    reviews.asked.clear()
    for pod in ("pod-1", "pod-3", "pod-2"):
        await checker.check(pod, "10.0.0.1")
    assert [token for token, _ in reviews.asked] == ["pod-2"]


async def test_answers_to_a_token_follow_its_reviews(time: Any) -> None:
    verdicts = iter([False, True, False, True])

    async def review(token: str, audience: str) -> dict[str, Any]:
        return review_of("pod-1") if next(verdicts) else {"authenticated": False}

    checker = TokenChecker(review, time.clock)
    found = []
    for _ in range(4):
        found.append(isinstance(await checker.check("pod-1", "10.0.0.1"), Peer))
        time.seconds += 301
    assert found == [False, True, False, True]
