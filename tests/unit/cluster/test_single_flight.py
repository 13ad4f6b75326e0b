"""One call for all callers with the same key at the same time."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from maskrcnn_operator.cluster.single_flight import SingleFlight


class Source:
    """Source that counts its calls; each waits for ``gate``."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.calls


async def test_concurrent_callers_share_the_result_and_later_ones_do_not() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    source = Source()
    asked = [asyncio.create_task(flights.ask("a", source)) for _ in range(5)]
    other = asyncio.create_task(flights.ask("b", source))
    await asyncio.sleep(0)
    assert (source.calls, len(flights), "a" in flights) == (2, 2, True)
    source.gate.set()
    assert await asyncio.gather(*asked, other) == [2] * 6
    assert (len(flights), "a" in flights) == (0, False)
    assert await flights.ask("a", source) == 3


async def test_an_error_is_shared_and_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    source = Source()
    source.error = ValueError("no")
    asked = [asyncio.create_task(flights.ask("a", source)) for _ in range(3)]
    await asyncio.sleep(0)
    source.gate.set()
    assert [type(error) for error in await asyncio.gather(*asked, return_exceptions=True)] == [ValueError] * 3
    with pytest.raises(ValueError, match="no"):
        await flights.ask("a", source)
    source.error = None
    assert await flights.ask("a", source) == 3
    gc.collect()
    assert not [line for line in caplog.records if line.levelno >= logging.ERROR]


async def test_the_next_one_calls_again_when_the_first_is_canceled() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    source = Source()
    first, second, third = (asyncio.create_task(flights.ask("a", source)) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    third.cancel()
    await asyncio.wait((first, third))
    await asyncio.sleep(0)
    assert source.calls == 2
    source.gate.set()
    assert await second == 2
    assert first.cancelled()
    assert third.cancelled()
