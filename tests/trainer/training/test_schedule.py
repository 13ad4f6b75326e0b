"""Learning rate at and around each boundary."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tensorflow as tf

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.training.schedule import Schedule

pytestmark = pytest.mark.trainer

SAMPLE = Schedule(
    init_learning_rate=0.02,
    warmup_learning_rate=0.0001,
    warmup_steps=1000,
    boundaries=(60000, 80000, 100000),
    decay_levels=(0.1, 0.02, 0.002),
)


def rate_at(schedule: Schedule, step: int) -> float:
    """Return the rate as a training step has it: in a graph, of a variable."""
    steps = tf.Variable(step, dtype=tf.int64)
    return float(tf.function(lambda: schedule.at(steps))())


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0001),
        (500, 0.0001 + 0.5 * 0.0199),
        (999, 0.0001 + 0.999 * 0.0199),
        (1000, 0.02),
        (60000, 0.02),
        (60001, 0.002),
        (80000, 0.002),
        (80001, 0.0004),
        (100000, 0.0004),
        (100001, 0.00004),
        (10**9, 0.00004),
    ],
)
def test_rate(step: int, rate: float) -> None:
    assert rate_at(SAMPLE, step) == pytest.approx(rate, rel=1e-6)


def test_without_warmup_and_drops_the_rate_is_constant() -> None:
    schedule = Schedule(init_learning_rate=0.01)
    assert [rate_at(schedule, step) for step in (0, 1, 10**6)] == pytest.approx([0.01, 0.01, 0.01])


def test_the_warmup_hides_a_drop_inside_it() -> None:
    schedule = Schedule(1.0, warmup_steps=10, boundaries=(4,), decay_levels=(0.5,))
    assert rate_at(schedule, 9) == pytest.approx(0.9)
    assert rate_at(schedule, 10) == 0.5


def test_levels_are_multiples_of_the_initial_rate() -> None:
    assert Schedule(2.0, boundaries=(1, 2), decay_levels=(0.5, 0.25)).values == (2.0, 1.0, 0.5)


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="learningRateDecayLevels has 1, but learningRateSteps has 2 entries"):
        Schedule(1.0, boundaries=(1, 2), decay_levels=(0.5,))


@pytest.mark.parametrize("steps", [(2, 1), (3, 3)])
def test_steps_that_are_not_ascending_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="must be in increasing order"):
        Schedule(1.0, boundaries=steps, decay_levels=(0.5, 0.1))


def test_from_spec_scales_every_rate() -> None:
    spec = SimpleNamespace(
        init_learning_rate=0.01,
        warmup_learning_rate=0.001,
        warmup_steps=5,
        learning_rate_steps=(10,),
        learning_rate_decay_levels=(0.1,),
    )
    schedule = Schedule.from_spec(spec, factor=4.0)
    assert [rate_at(schedule, step) for step in (0, 5, 11)] == pytest.approx([0.004, 0.04, 0.004])
