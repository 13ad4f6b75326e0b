"""Store of experiments: answers the requests of the fence's decisions from a real object store."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from maskrcnn_trainer.object_store.client import StoreClient
from maskrcnn_trainer.object_store.connection import connection_for
from maskrcnn_trainer.object_store.fence.exchange_types import FenceAnswer, FenceRequest
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec


class FenceStore:
    """Store of all experiments below one URL; for one thread, like its client.

    Args:
        client: of the store.
        prefix: key of the URL of all experiments; empty: the container itself.
        clock: seconds of a clock that only rises.
        pause: waits for a number of seconds.
        jitter: returns a random number in [0, 1).
    """

    def __init__(
        self,
        client: StoreClient,
        prefix: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._pause = pause
        self._jitter = jitter

    @property
    def url(self) -> str:
        """Return the URL of all experiments, for messages."""
        raise NotImplementedError

    def sender(
        self,
        *,
        sources: Path | None = None,
        into: Path | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Callable[[FenceRequest], FenceAnswer]:
        """Return the function that carries out requests.

        It sends a request again until the store answers, and then returns the answer, which is never UNANSWERED. If it
        raises, the request counts as unanswered.

        Args:
            sources: directory whose files PutFiles uploads, by their ``path``.
            into: existing directory to which FetchFiles writes files, by their ``path``.
            on_bytes: called with the number of bytes of a file that were sent or received.

        The function raises:
            InvalidInput: the store refuses, or a record or a file in it is damaged (64).
            TryAgain: the store has failed for the time of the client's policy (75).
            WorkspaceFull: there is no room below ``into`` (70).
            Stopped: as the client's ``stop`` requests; also the way to a deadline.
            OSError: of a local file.
        """
        raise NotImplementedError

    def link(self, key: str, seconds: float) -> str:
        """Return a URL by which anybody can read an object for a time; it contains a signature: never log it.

        Args:
            key: relative to the URL of all experiments.
            seconds: time from now.

        Raises:
            InvalidInput: the identity can't sign.
        """
        raise NotImplementedError


@contextmanager
def open_fence_store(
    url: ObjectUrl,
    stores: Sequence[ObjectStoreSpec],
    environment: Mapping[str, str],
    *,
    stop: Callable[[], bool] = lambda: False,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[FenceStore]:
    """Open the store of all experiments below a URL; its helper process ends with the block.

    Args:
        url: of all experiments, with one of the schemes of object stores.
        stores: entries without problems; the one with the longest prefix is used.
        environment: of this process.
        stop: returns whether to stop; called at least every 0.2 seconds while a request is under way.
        on_wait: called with the sentence about a failure before a request is sent again.

    Raises:
        InvalidInput: the endpoint isn't allowed, or the storage account is missing.
    """
    with StoreClient(connection_for(url, stores, environment), stop=stop, on_wait=on_wait) as client:
        yield FenceStore(client, url.key)
