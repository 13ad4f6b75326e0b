"""Tokens are reviewed once in a while, and never kept."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from maskrcnn_operator.cluster.errors import api_error
from maskrcnn_operator.progress.authorise import Peer
from maskrcnn_operator.progress.rate_limit import RateLimit
from maskrcnn_operator.progress.refusal import Refusal
from maskrcnn_operator.progress.tokens import TokenChecker


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

    async def __call__(self, token: str, audience: str) -> dict[str, Any]:
        self.asked.append((token, audience))
        if self.down:
            raise api_error(0, "TimeoutError", "")
        return review_of(token) if token.startswith("pod") else {"authenticated": False, "error": "nonsense"}


async def test_an_accepted_token_is_asked_about_every_five_minutes(time: Any) -> None:
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


async def test_a_rejected_token_is_asked_about_sooner(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock)
    for _ in range(3):
        found = await checker.check("nonsense", "10.0.0.1")
        assert isinstance(found, Refusal)
        assert found.status == 401
    assert len(reviews.asked) == 1
    time.seconds += 31
    await checker.check("nonsense", "10.0.0.1")
    assert len(reviews.asked) == 2


async def test_an_api_server_that_does_not_answer_is_no_answer(time: Any) -> None:
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
    assert [answer.status for answer in answers if isinstance(answer, Refusal)] == [401] * 5 + [429] * 3
    assert isinstance(answers[-1], Refusal)
    assert answers[-1].retry_after == pytest.approx(1.0)
    assert isinstance(await checker.check("pod-1", "10.0.0.9"), Peer)
    assert len(reviews.asked) == 6


async def test_what_cannot_be_a_token_is_not_asked_about(time: Any) -> None:
    reviews = Reviews()
    checker = TokenChecker(reviews, time.clock)
    for token in ("x" * 20_000, "pod-é"):
        found = await checker.check(token, "10.0.0.1")
        assert isinstance(found, Refusal)
        assert found.status == 401
    assert not reviews.asked


async def test_the_token_itself_is_not_kept(time: Any) -> None:
    async def review(token: str, audience: str) -> dict[str, Any]:
        return review_of("pod-1")

    checker = TokenChecker(review, time.clock)
    await checker.check("pod-" + "secret" * 5, "10.0.0.1")
    gc.collect()
    assert "secret" not in repr(vars(checker))
