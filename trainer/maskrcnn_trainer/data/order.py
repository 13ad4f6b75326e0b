"""The order in which training reads records: a window shuffle of every epoch, computed instead of streamed.

A streaming shuffle holds a window of records and emits a random one of them while the next takes its place. Its
state is the whole window, so a run that resumes has to replay everything before. The same order can be written down
beforehand: the record that leaves slot ``s`` is the one that the previous draw of ``s`` put there. An epoch's order
is then a function of (seed, epoch) alone, and a position in the global stream is one integer.

Random bits are Philox words (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) seeded through
``numpy.random.SeedSequence``. NumPy guarantees both streams over its versions (NEP 19), which it does not do for the
methods of ``Generator``: an order survives an upgrade of NumPy in the middle of a run.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

_EPOCHS_KEPT = 2  # a prefetching reader straddles one border at a time


class BatchOfPositions(NamedTuple):
    """Which records one rank reads in one step.

    Attributes:
        positions: int64 [B], place in the global stream; with the seed it decides everything random about the example.
        records: int64 [B], index of the record, in [0, num_records).
        epochs: int64 [B], number of the epoch that the position belongs to, from 0.
    """

    positions: Int64Array
    records: Int64Array
    epochs: Int64Array


def window_shuffle(num_records: int, window: int, seed: int, epoch: int) -> Int64Array:
    """Returns the order of one epoch: int64 [num_records], each record exactly once.

    The distribution is that of a streaming shuffle with a buffer of ``window`` records (``tf.data.Dataset.shuffle``):
    a window of 1 keeps the stored order, one of at least ``num_records`` gives a uniform permutation, and the record at
    place i comes from the first i + window stored records.

    Args:
        num_records: number of records, at least 0.
        window: size of the window in records, at least 1.
        seed: at least 0.
        epoch: at least 0.
    """
    if num_records < 0 or window < 1 or seed < 0 or epoch < 0:
        raise ValueError(f"num_records {num_records}, window {window}, seed {seed}, epoch {epoch}")
    if window == 1 or num_records < 2:
        return np.arange(num_records, dtype=np.int64)
    bits = np.random.Philox(np.random.SeedSequence((seed, epoch)))
    window = min(window, num_records)
    num_streamed = num_records - window
    # 32 random bits scaled to [0, window): no rejection, so that place i always takes word i of the stream.
    words = bits.random_raw(num_streamed).astype(np.uint64) >> np.uint64(32)
    slots = ((words * np.uint64(window)) >> np.uint64(32)).astype(np.int64)

    # The k-th draw empties slots[k] and fills it with record window + k.
    by_slot = np.argsort(slots, kind="stable")
    drawn = slots[by_slot]
    previous = np.empty(num_streamed, dtype=np.int64)
    contents = np.arange(window, dtype=np.int64)
    if num_streamed:
        first = np.append(True, drawn[1:] != drawn[:-1])
        last = np.append(drawn[1:] != drawn[:-1], True)
        before = np.append(0, by_slot[:-1])
        previous[by_slot] = np.where(first, drawn, window + before)
        contents[drawn[last]] = window + by_slot[last]

    tail = np.argsort(bits.random_raw(window), kind="stable")
    return np.concatenate([previous, contents[tail]])


class DataOrder:
    """The infinite stream of records, epoch after epoch, and what each rank reads of it.

    Position p belongs to epoch ``p // num_records``. Rank r of R takes positions ``(s R + r) B .. + B`` in step s: the
    stream is the same for any number of ranks, every rank has the same number of steps, and every epoch holds each
    record once. Thread-safe.

    Args:
        num_records: number of records, at least 1.
        window: window of the shuffle in records (``shuffle_buffer_size``), at least 1.
        seed: at least 0.
    """

    def __init__(self, num_records: int, window: int, seed: int) -> None:
        if num_records < 1:
            raise ValueError("an order needs at least one record")
        self.num_records = num_records
        self.window = window
        self.seed = seed
        self._epochs: OrderedDict[int, Int64Array] = OrderedDict()
        self._lock = threading.Lock()

    def epoch(self, number: int) -> Int64Array:
        """The records of one epoch in their order, int64 [num_records], read-only."""
        with self._lock:
            order = self._epochs.get(number)
            if order is None:
                order = window_shuffle(self.num_records, self.window, self.seed, number)
                order.flags.writeable = False
                self._epochs[number] = order
            self._epochs.move_to_end(number)
            while len(self._epochs) > _EPOCHS_KEPT:
                self._epochs.popitem(last=False)
            return order

    def records(self, positions: Int64Array) -> Int64Array:
        """The records at these global positions, int64 of the same shape."""
        epochs, places = np.divmod(positions, self.num_records)
        records = np.empty_like(positions)
        for number in np.unique(epochs):
            here = epochs == number
            records[here] = self.epoch(int(number))[places[here]]
        return records

    def batch(self, step: int, rank: int, ranks: int, batch_size: int) -> BatchOfPositions:
        """What ``rank`` of ``ranks`` reads in ``step`` (from 0)."""
        if not 0 <= rank < ranks:
            raise ValueError(f"rank {rank} of {ranks}")
        if step < 0 or batch_size < 1:
            raise ValueError(f"step {step}, batch size {batch_size}")
        start = (step * ranks + rank) * batch_size
        positions = np.arange(start, start + batch_size, dtype=np.int64)
        return BatchOfPositions(positions, self.records(positions), positions // self.num_records)
