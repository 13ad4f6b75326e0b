"""Order in which training reads records: a permutation of all records for each epoch, computed instead of streamed.

A streaming shuffle (``tf.data.Dataset.shuffle``) mixes only within its buffer, and its state is the whole buffer, so a
resumed run has to replay the whole stream before it. Here an epoch's order is a function of (seed, epoch) alone, it
mixes a data set of any size, and a position in the global stream is one integer.

There are two versions. Version 2, the current one, is the permutation. Version 1 is the order of a streaming shuffle
with a window of ``shuffle_buffer_size`` records; a training that began with it continues with it. Both are equal if the
window holds all records.

Random bits are Philox words (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) seeded through
``numpy.random.SeedSequence``. NumPy guarantees both streams across its versions (NEP 19), but not the methods of
``Generator``, so an order does not change if NumPy is upgraded in the middle of a run.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

ORDER_VERSION = 2
"""Version of the order of a new training; checkpoints store it."""

_EPOCHS_KEPT = 2  # a prefetching reader crosses one epoch border at a time


def permutation(num_records: int, seed: int, epoch: int) -> Int64Array:
    """Return the order of one epoch in version 2: int64 [num_records], a uniform permutation of all records.

    Args:
        num_records: number of records, at least 0.
        seed: at least 0.
        epoch: at least 0.

    Raises:
        ValueError: an argument is out of range.
    """
    if num_records < 0 or seed < 0 or epoch < 0:
        raise ValueError(f"num_records {num_records}, seed {seed}, epoch {epoch}")
    # With 10 million records, two share a 64-bit key once in 370,000 epochs; these two then keep their stored order.
    return _order_of_keys(np.random.Philox(np.random.SeedSequence((seed, epoch))), num_records)


def window_shuffle(num_records: int, window: int, seed: int, epoch: int) -> Int64Array:
    """Return the order of one epoch in version 1: int64 [num_records], each record exactly once.

    The distribution is that of a streaming shuffle with a buffer of ``window`` records (``tf.data.Dataset.shuffle``):
    a window of 1 keeps the stored order, one of at least ``num_records`` gives a uniform permutation, and the record at
    index i comes from the first i + window stored records.

    Args:
        num_records: number of records, at least 0.
        window: size of the window in records, at least 1.
        seed: at least 0.
        epoch: at least 0.

    Raises:
        ValueError: an argument is out of range.
    """
    if num_records < 0 or window < 1 or seed < 0 or epoch < 0:
        raise ValueError(f"num_records {num_records}, window {window}, seed {seed}, epoch {epoch}")
    if window == 1 or num_records < 2:
        return np.arange(num_records, dtype=np.int64)
    bits = np.random.Philox(np.random.SeedSequence((seed, epoch)))
    window = min(window, num_records)
    num_streamed = num_records - window
    # 32 random bits scaled to [0, window), without rejection, so that index i always takes word i of the stream.
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

    return np.concatenate([previous, contents[_order_of_keys(bits, window)]])


def _order_of_keys(bits: np.random.Philox, count: int) -> Int64Array:
    return np.argsort(bits.random_raw(count), kind="stable")


class DataOrder:
    """Infinite stream of records, epoch after epoch, and the part of it that each rank reads.

    Position p belongs to epoch ``p // num_records``. A step of R ranks with B images each that begins at position p
    reads positions p to p + R B - 1, of which rank r reads B positions from p + r B on. The stream is the same for any
    number of ranks, all ranks have the same number of steps, and an epoch holds each record once. Thread-safe.

    Args:
        num_records: number of records, at least 1.
        seed: at least 0.
        window: None for version 2; the window of version 1 in records (``shuffle_buffer_size``), at least 1.

    Raises:
        ValueError: ``num_records`` is below 1.
    """

    def __init__(self, num_records: int, seed: int, window: int | None = None) -> None:
        if num_records < 1:
            raise ValueError("an order needs at least one record")
        self.num_records = num_records
        self.seed = seed
        self.window = window
        self._epochs: OrderedDict[int, Int64Array] = OrderedDict()
        self._lock = threading.Lock()

    def epoch(self, number: int) -> Int64Array:
        """Return the records of one epoch in their order, int64 [num_records], read-only."""
        with self._lock:
            order = self._epochs.get(number)
            if order is None:
                order = (
                    permutation(self.num_records, self.seed, number)
                    if self.window is None
                    else window_shuffle(self.num_records, self.window, self.seed, number)
                )
                order.flags.writeable = False
                self._epochs[number] = order
            self._epochs.move_to_end(number)
            while len(self._epochs) > _EPOCHS_KEPT:
                self._epochs.popitem(last=False)
            return order

    def records(self, positions: Int64Array) -> Int64Array:
        """Return the records at these global positions, int64 of the same shape."""
        epochs, indices = np.divmod(positions, self.num_records)
        records = np.empty_like(positions)
        for number in np.unique(epochs):
            here = epochs == number
            records[here] = self.epoch(int(number))[indices[here]]
        return records

    def batch(self, start: int, rank: int, ranks: int, batch_size: int) -> Int64Array:
        """Return the records that a rank reads in one step, int64 [batch_size], in [0, num_records).

        Args:
            start: position at which the step begins, at least 0.
            rank: from 0 to ``ranks`` - 1.
            ranks: number of processes.
            batch_size: records of each rank, at least 1.

        Raises:
            ValueError: an argument is out of range.
        """
        if not 0 <= rank < ranks:
            raise ValueError(f"rank {rank} of {ranks}")
        if start < 0 or batch_size < 1:
            raise ValueError(f"position {start}, batch size {batch_size}")
        first = start + rank * batch_size
        return self.records(np.arange(first, first + batch_size, dtype=np.int64))
