"""Deduplication of concurrent calls: callers with the same key share one result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Pending calls, by key."""

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Future[T]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, key: K) -> bool:
        return key in self._under_way

    async def ask(self, key: K, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the pending call for ``key``, or of ``call`` if there is none; errors are shared, too.

        If the caller that makes the call is canceled, the next waiting caller makes it again.
        """
        while (answer := self._under_way.get(key)) is not None:
            await asyncio.wait((answer,))
            if not answer.cancelled():
                return answer.result()
        answer = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            found = await call()
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except Exception as error:
            answer.set_exception(error)
            answer.exception()  # retrieved, so that asyncio does not log it as unhandled
            raise
        else:
            answer.set_result(found)
            return found
        finally:
            del self._under_way[key]
