from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_trainer.data.order import DataOrder, window_shuffle

SIZES = st.integers(1, 200)
WINDOWS = st.integers(1, 250)
SEEDS = st.integers(0, 2**32 - 1)
GOLDEN = [1, 3, 5, 4, 0, 8, 9, 6, 11, 10, 2, 7]


def streamed(num_records: int, window: int, seed: int, epoch: int) -> list[int]:
    """The shuffle as a stream runs it, one record at a time, with the same random words."""
    bits = np.random.Philox(np.random.SeedSequence((seed, epoch)))
    window = min(window, num_records)
    held = list(range(window))
    emitted = []
    for incoming in range(window, num_records):
        slot = (int(bits.random_raw()) >> 32) * window >> 32
        emitted.append(held[slot])
        held[slot] = incoming
    keys = [int(bits.random_raw()) for _ in range(window)]
    return emitted + [held[i] for i in sorted(range(window), key=lambda i: keys[i])]


@given(SIZES, st.integers(2, 250), SEEDS, st.integers(0, 5))
def test_equals_the_streaming_shuffle(num_records: int, window: int, seed: int, epoch: int) -> None:
    if num_records > 1:
        assert window_shuffle(num_records, window, seed, epoch).tolist() == streamed(num_records, window, seed, epoch)


@given(SIZES, WINDOWS, SEEDS)
def test_an_epoch_holds_each_record_once_and_never_looks_past_the_window(n: int, window: int, seed: int) -> None:
    order = window_shuffle(n, window, seed, 0)
    assert sorted(order.tolist()) == list(range(n))
    assert all(record < place + window for place, record in enumerate(order.tolist()))


@given(SIZES, WINDOWS, SEEDS, st.integers(1, 7), st.integers(1, 7))
def test_the_stream_is_the_same_for_any_number_of_ranks(n: int, window: int, seed: int, ranks: int, batch: int) -> None:
    def stream(ranks: int, batch: int, length: int) -> list[tuple[int, int, int]]:
        order = DataOrder(n, window, seed)
        rows = []
        for step in itertools.count():
            for rank in range(ranks):
                rows += zip(*(column.tolist() for column in order.batch(step, rank, ranks, batch)), strict=True)
            if len(rows) >= length:
                return rows[:length]
        raise AssertionError

    length = 2 * n + 3
    many = stream(ranks, batch, length)
    assert many == stream(1, 1, length)
    assert [position for position, _, _ in many] == list(range(length))
    assert sorted(record for _, record, epoch in many if epoch == 1) == list(range(n))


@given(SIZES, WINDOWS, SEEDS, st.integers(0, 50))
def test_a_later_step_needs_no_earlier_one(n: int, window: int, seed: int, step: int) -> None:
    played = DataOrder(n, window, seed)
    for earlier in range(step):
        played.batch(earlier, 1, 3, 4)
    fresh = DataOrder(n, window, seed)
    for left, right in zip(played.batch(step, 1, 3, 4), fresh.batch(step, 1, 3, 4), strict=True):
        assert left.tolist() == right.tolist()


def test_epochs_and_seeds_differ() -> None:
    orders = [window_shuffle(100, 100, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_order_is_part_of_what_a_resumed_run_relies_on() -> None:
    # Written down once: a change here would make a checkpoint of an older version go on in another order.
    assert window_shuffle(12, 4, 123, 7).tolist() == GOLDEN


def test_window_of_one_keeps_the_stored_order() -> None:
    assert window_shuffle(9, 1, 5, 3).tolist() == list(range(9))


def test_a_full_window_is_uniform() -> None:
    places = np.array([window_shuffle(4, 4, 1, epoch) for epoch in range(6000)])
    counts = np.array([[np.sum(places[:, place] == record) for record in range(4)] for place in range(4)])
    # 1500 expected in each cell, standard deviation 34.
    assert np.all(np.abs(counts - 1500) < 5 * 34)


def test_a_batch_may_span_several_epochs() -> None:
    batch = DataOrder(3, 8, 9).batch(0, 0, 1, 8)
    assert batch.epochs.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert sorted(batch.records[:3].tolist()) == sorted(batch.records[3:6].tolist()) == [0, 1, 2]


def test_few_epochs_are_held() -> None:
    order = DataOrder(10, 10, 0)
    for step in range(30):
        order.batch(step, 0, 1, 10)
    assert len(order._epochs) <= 2
    with pytest.raises(ValueError):
        order.epoch(0)[0] = 1


@pytest.mark.parametrize(("rank", "ranks", "step", "size"), [(2, 2, 0, 1), (-1, 2, 0, 1), (0, 1, -1, 1), (0, 1, 0, 0)])
def test_impossible_batches_are_refused(rank: int, ranks: int, step: int, size: int) -> None:
    with pytest.raises(ValueError):
        DataOrder(5, 2, 0).batch(step, rank, ranks, size)


def test_no_records_are_refused() -> None:
    with pytest.raises(ValueError):
        DataOrder(0, 4, 1)
