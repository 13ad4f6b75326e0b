"""Parallel map over many processes, with results in order and a bounded number of them in memory."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from maskrcnn_trainer.errors import TryAgain

Result = TypeVar("Result")

_IN_FLIGHT = 4  # items a process, enough to keep all busy while one works on a slow image


def ordered_map(
    function: Callable[..., Result], items: Iterable[tuple[Any, ...]], processes: int
) -> Generator[Result, None, None]:
    """Yield ``function(*item)`` for every item, in order.

    At most 4 times `processes` items are in progress or waiting to be taken. Processes are spawned and not forked,
    since the caller may have threads or locks. They end with the caller, even if it is killed.

    Args:
        function: importable by name.
        items: arguments of each call.
        processes: number of processes; 1 or less computes in this process.

    Raises:
        TryAgain: a process was killed, probably because it was out of memory.
    """
    if processes <= 1:
        for item in items:
            yield function(*item)
        return
    executor = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_prepare_worker)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(executor.submit(function, *item))
            if len(pending) >= _IN_FLIGHT * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise TryAgain(
            f"one of {processes} converting processes was killed, probably out of memory; "
            "give the task more memory or fewer CPUs",
            reason="OutOfMemory",
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C signals all processes; the parent ends this one in order
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
