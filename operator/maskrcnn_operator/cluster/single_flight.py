"""One call at a time for a key: those who ask meanwhile share its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Calls under way, by key."""

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Future[T]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, key: K) -> bool:
        return key in self._under_way

    async def ask(self, key: K, call: Callable[[], Awaitable[T]]) -> T:
        """Return the answer of ``call``, or of the call for the same key that is under way; its errors are shared, too.

        When the one who made the call is canceled, the next one makes it again.
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
            answer.exception()  # read once, so that asyncio logs nothing
            raise
        else:
            answer.set_result(found)
            return found
        finally:
            del self._under_way[key]
