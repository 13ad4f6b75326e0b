from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_trainer.data.order import DataOrder, permutation, window_shuffle

SIZES = st.integers(1, 200)
WINDOWS = st.integers(1, 250)
SEEDS = st.integers(0, 2**32 - 1)
GOLDEN_WINDOW = [1, 3, 5, 4, 0, 8, 9, 6, 11, 10, 2, 7]
GOLDEN = [4, 5, 6, 11, 0, 3, 8, 10, 1, 7, 9, 2]
BOTH_VERSIONS = st.none() | WINDOWS


def streamed(num_records: int, window: int, seed: int, epoch: int) -> list[int]:
    """Shuffle like a stream, one record at a time, with the same random words."""
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


def test_place_and_record_of_a_large_set_do_not_correlate() -> None:
    # 100,000 independent pairs have a rank correlation of 0 with a standard deviation of 0.003.
    order = DataOrder(100_000, seed=3).epoch(0)
    assert sorted(order.tolist()) == list(range(100_000))
    assert abs(np.corrcoef(np.arange(100_000), order)[0, 1]) < 0.05


def test_two_sets_after_each_other_are_mixed_from_the_first_batches_on() -> None:
    # 60,000 records of set A, then 40,000 of B; 100 batches of 4 hold 160 of B with a standard deviation of 10.
    order = DataOrder(100_000, seed=3)
    for first in (0, 100_000 - 400, 250_000):
        of_b = sum(int(np.sum(order.batch(first + 4 * k, 0, 1, 4) >= 60_000)) for k in range(100))
        assert abs(of_b - 160) < 50


@given(SIZES, SEEDS, st.integers(0, 5))
def test_window_that_holds_all_records_gives_the_current_order(n: int, seed: int, epoch: int) -> None:
    assert permutation(n, seed, epoch).tolist() == window_shuffle(n, n + 1, seed, epoch).tolist()


@given(SIZES, st.integers(2, 250), SEEDS, st.integers(0, 5))
def test_equals_the_streaming_shuffle(num_records: int, window: int, seed: int, epoch: int) -> None:
    if num_records > 1:
        assert window_shuffle(num_records, window, seed, epoch).tolist() == streamed(num_records, window, seed, epoch)


@given(SIZES, WINDOWS, SEEDS)
def test_an_epoch_holds_each_record_once_and_never_looks_past_the_window(n: int, window: int, seed: int) -> None:
    order = window_shuffle(n, window, seed, 0)
    assert sorted(order.tolist()) == list(range(n))
    assert all(record < place + window for place, record in enumerate(order.tolist()))


@given(SIZES, BOTH_VERSIONS, SEEDS, st.integers(1, 7), st.integers(1, 7))
def test_the_stream_is_the_same_for_any_number_of_ranks(
    n: int, window: int | None, seed: int, ranks: int, batch: int
) -> None:
    def stream(ranks: int, batch: int, length: int) -> list[int]:
        order = DataOrder(n, seed, window)
        records: list[int] = []
        for start in itertools.count(0, ranks * batch):
            for rank in range(ranks):
                records += order.batch(start, rank, ranks, batch).tolist()
            if len(records) >= length:
                return records[:length]
        raise AssertionError

    length = 2 * n + 3
    many = stream(ranks, batch, length)
    assert many == stream(1, 1, length)
    order = DataOrder(n, seed, window)
    assert many == np.concatenate([order.epoch(number) for number in range(2 + -(-3 // n))])[:length].tolist()
    assert sorted(many[n : 2 * n]) == list(range(n))


@given(SIZES, BOTH_VERSIONS, SEEDS, st.integers(0, 50))
def test_a_later_step_needs_no_earlier_one(n: int, window: int | None, seed: int, step: int) -> None:
    played = DataOrder(n, seed, window)
    for earlier in range(step):
        played.batch(12 * earlier, 1, 3, 4)
    fresh = DataOrder(n, seed, window)
    assert played.batch(12 * step, 1, 3, 4).tolist() == fresh.batch(12 * step, 1, 3, 4).tolist()


def test_epochs_and_seeds_differ() -> None:
    orders = [permutation(100, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_order_does_not_change_between_releases() -> None:
    # Recorded values: if they change, a checkpoint of an older release continues in another order.
    assert permutation(12, 123, 7).tolist() == GOLDEN
    assert window_shuffle(12, 4, 123, 7).tolist() == GOLDEN_WINDOW


def test_window_of_one_keeps_the_stored_order() -> None:
    assert window_shuffle(9, 1, 5, 3).tolist() == list(range(9))


def test_an_epoch_is_a_uniform_permutation() -> None:
    places = np.array([permutation(4, 1, epoch) for epoch in range(6000)])
    counts = np.array([[np.sum(places[:, place] == record) for record in range(4)] for place in range(4)])
    # 1500 expected in each cell, standard deviation 34.
    assert np.all(np.abs(counts - 1500) < 5 * 34)


def test_a_batch_may_span_several_epochs() -> None:
    order = DataOrder(3, 9)
    assert order.batch(0, 0, 1, 8).tolist() == [*order.epoch(0), *order.epoch(1), *order.epoch(2)[:2]]


def test_few_epochs_are_held() -> None:
    order = DataOrder(10, 0)
    for step in range(30):
        order.batch(10 * step, 0, 1, 10)
    assert len(order._epochs) <= 2
    with pytest.raises(ValueError):
        order.epoch(0)[0] = 1


@pytest.mark.parametrize(("rank", "ranks", "start", "size"), [(2, 2, 0, 1), (-1, 2, 0, 1), (0, 1, -1, 1), (0, 1, 0, 0)])
def test_impossible_batches_are_refused(rank: int, ranks: int, start: int, size: int) -> None:
    with pytest.raises(ValueError):
        DataOrder(5, 0).batch(start, rank, ranks, size)


def test_no_records_are_refused() -> None:
    with pytest.raises(ValueError):
        DataOrder(0, 1)
