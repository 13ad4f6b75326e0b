"""Order of a training's steps, reads, checkpoints, and evaluations, without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.errors import InvalidInput, Stopped
from maskrcnn_trainer.spec import StepPlan
from maskrcnn_trainer.training import loop, step_reports
from maskrcnn_trainer.training.loop import TrainingLoop
from maskrcnn_trainer.training.measured import Measured
from maskrcnn_trainer.training.position import DataPosition, DataProgress

pytestmark = pytest.mark.trainer

PATIENCE_SECONDS = 20.0
NAMES = ("total_loss", "finite", "overflowed")
STEP, EVALUATION = 10.0, 1000.0
Event = tuple[str, int]


class Vector:
    """Result of a step on a device, which can be copied to the host from some time on."""

    def __init__(self, values: list[float], ended: threading.Event) -> None:
        self._values = values
        self._ended = ended

    def numpy(self) -> np.ndarray:
        assert self._ended.wait(PATIENCE_SECONDS), "the result is read before the next step was given to the device"
        return np.array(self._values, np.float32)


class Training:
    """Training loop of one rank with recorded events.

    Args:
        total: number of steps.
        per_eval: number of steps between evaluations.
        bad: steps whose loss isn't finite.
        stop_in: step during which a request to stop arrives.
        no_batch: step whose batch cannot be read.
        average: reduces the flag over ranks.
        images_per_epoch: over all ranks; a step has one image.
        slow: whether the device ends a step only after it was given the next one.
    """

    scales_loss = False

    def __init__(
        self,
        total: int,
        per_eval: int = 100,
        *,
        bad: tuple[int, ...] = (),
        stop_in: int = 0,
        no_batch: int = 0,
        average: Callable[[float], float] = lambda flag: flag,
        images_per_epoch: int = 100,
        slow: bool = False,
    ) -> None:
        self.events: list[Event] = []
        self.seconds: list[float] = []
        self.epochs: list[float] = []
        self.flushes: list[int] = []
        self.step = SimpleNamespace(numpy=lambda: np.int64(0))
        self._given = 0
        self._bad, self._stop_in, self._no_batch, self._average = bad, stop_in, no_batch, average
        self._slow = slow
        self._ended = threading.Event()
        self.asked = False
        part: Any = self
        self._loop = TrainingLoop(
            step=part,
            plan=StepPlan(total, 9, images_per_epoch, per_eval, images_per_epoch),
            progress=DataProgress(DataPosition(), images_per_step=1),
            context=SimpleNamespace(barrier_and_shutdown=lambda: None),  # type: ignore[arg-type]
            stop=part,
            telemetry=SimpleNamespace(  # type: ignore[arg-type]
                step=self._reported, epoch_finished=self._epoch_finished, flush=self._flush
            ),
            writer=SimpleNamespace(write=self._write),  # type: ignore[arg-type]
            evaluator=SimpleNamespace(evaluate=self._evaluate),  # type: ignore[arg-type]
        )

    def run(self) -> list[Event]:
        self._loop.run(self._batches)
        return self.events

    def __call__(self, batch: int, flags: tf.Tensor) -> Measured:
        self._given += 1
        self.events.append(("step", self._given))
        self._ended.set()
        self._ended = threading.Event()
        if not self._slow or self._loop.plan.is_evaluated_at(self._given):
            self._ended.set()
        mean = self._average(float(flags[0]))
        self.asked = self.asked or self._given + 1 == self._stop_in
        bad = self._given in self._bad
        vector: Any = Vector([float("nan") if bad else 1.0, not bad, -1, mean], self._ended)
        return Measured(vector, NAMES)

    def overflowed_variable(self, _: Any) -> None:
        raise AssertionError("the loss isn't finite")

    def _batches(self) -> Iterator[int]:
        for number in range(1, self._loop.plan.total_steps + 1):
            if number == self._no_batch:
                raise InvalidInput("a damaged record")
            yield number

    def _reported(self, number: int, _epoch: int, measured: Measured, seconds: float, _meter: Any) -> None:
        assert measured["finite"] == 1.0
        self.events.append(("report", number))
        self.seconds.append(seconds)

    def _epoch_finished(self, _epoch: int, number: int, *, ended: float) -> None:
        self.events.append(("epoch", number))
        self.epochs.append(ended)

    def _flush(self) -> None:
        self.flushes.append(len(self.events))

    def _write(self, done: int) -> None:
        self.events.append(("write", done))

    def _evaluate(self, done: int) -> None:
        self.events.append(("evaluate", done))


def test_each_result_is_read_after_the_device_was_given_the_next_step() -> None:
    events = Training(4, slow=True).run()
    reported = [("step", 1), ("step", 2), ("report", 1), ("step", 3), ("report", 2), ("step", 4), ("report", 3)]
    assert events == [*reported, ("report", 4), ("write", 4), ("evaluate", 4)]


def test_every_result_is_read_before_a_checkpoint_and_its_evaluation() -> None:
    events = Training(5, per_eval=2).run()
    for done in (2, 4, 5):
        at = events.index(("write", done))
        assert [number for what, number in events[:at] if what == "report"] == list(range(1, done + 1))
        assert events[at + 1] == ("evaluate", done)


def test_history_is_written_before_each_checkpoint() -> None:
    training = Training(5, per_eval=2)
    events = training.run()
    assert training.flushes == [events.index(("write", done)) for done in (2, 4, 5)]


@pytest.mark.parametrize("bad", [1, 2, 3, 4])
def test_no_checkpoint_follows_a_loss_that_is_not_finite(bad: int) -> None:
    training = Training(4, per_eval=3, bad=(bad, bad + 1))
    with pytest.raises(InvalidInput, match=rf"The loss is not a number at step {bad} ") as raised:
        training.run()
    assert raised.value.reason == "LossNotFinite"
    assert [number for what, number in training.events if what == "write"] == ([3] if bad == 4 else [])
    assert ("report", bad) not in training.events


def test_request_to_stop_ends_the_training_with_a_checkpoint_of_the_step_after() -> None:
    training = Training(9, stop_in=3)
    with pytest.raises(Stopped, match="after step 4; run it again"):
        training.run()
    assert training.events[-4:] == [("step", 4), ("report", 3), ("report", 4), ("write", 4)]


def test_request_to_stop_known_at_an_evaluated_step_leaves_its_checkpoint_without_evaluation() -> None:
    training = Training(9, per_eval=3, stop_in=3)
    with pytest.raises(Stopped, match="after step 3; run it again"):
        training.run()
    assert training.events[-2:] == [("report", 3), ("write", 3)]


@pytest.mark.parametrize("stop_in", [3, 4])
def test_request_to_stop_in_the_last_steps_lets_the_training_end(stop_in: int) -> None:
    assert Training(4, stop_in=stop_in).run()[-2:] == [("write", 4), ("evaluate", 4)]


def test_loss_that_is_not_finite_at_the_step_of_a_stop_leaves_no_checkpoint() -> None:
    training = Training(9, stop_in=3, bad=(4,))
    with pytest.raises(InvalidInput, match="at step 4 "):
        training.run()
    assert not [number for what, number in training.events if what == "write"]


def test_two_ranks_stop_after_the_same_step_although_one_received_the_request() -> None:
    barrier, flags = threading.Barrier(2, timeout=PATIENCE_SECONDS), [0.0, 0.0]

    def average_of(rank: int) -> Callable[[float], float]:
        def average(flag: float) -> float:
            flags[rank] = flag
            barrier.wait()
            mean = sum(flags) / 2
            barrier.wait()
            return mean

        return average

    ranks = [Training(9, average=average_of(0)), Training(9, average=average_of(1), stop_in=3)]

    def ended(training: Training) -> str:
        with pytest.raises(Stopped) as raised:
            training.run()
        return str(raised.value)

    with ThreadPoolExecutor(2) as pool:
        messages = list(pool.map(ended, ranks))
    assert messages[0] == messages[1]
    assert "after step 4;" in messages[0]


def test_step_before_a_damaged_record_is_reported() -> None:
    training = Training(9, no_batch=3)
    with pytest.raises(InvalidInput, match="a damaged record"):
        training.run()
    assert training.events[-1] == ("report", 2)


def test_loss_that_is_not_finite_is_the_fault_also_before_a_damaged_record() -> None:
    with pytest.raises(InvalidInput, match="not a number at step 2 "):
        Training(9, no_batch=3, bad=(2,)).run()


class TimedTraining(Training):
    """Training with clocks that only its parts advance; the reader's shows when the result it reads was computed.

    The loop gives the next step after the end of the step before the last.

    Args:
        input_seconds: for a batch.
        asynchronous: whether the device returns before it has computed a step.
    """

    def __init__(self, *, input_seconds: float, asynchronous: bool) -> None:
        super().__init__(5, per_eval=2, images_per_epoch=3)
        self._input_seconds, self._asynchronous = input_seconds, asynchronous
        self._now = 0.0
        self._ends = [0.0, 0.0]
        self._reader = threading.local()

    def monotonic(self) -> float:
        return getattr(self._reader, "now", self._now)

    def __call__(self, batch: int, flags: tf.Tensor) -> Measured:
        self._ends.append(max(self._ends[-1], self._now) + STEP)
        if not self._asynchronous:
            self._now = self._ends[-1]
        vector: Any = SimpleNamespace(numpy=partial(self._copy, self._ends[-1]))
        return Measured(vector, NAMES)

    def _copy(self, ended: float) -> np.ndarray:
        self._reader.now = ended
        return np.array([1.0, 1.0, -1.0, 0.0], np.float32)

    def _batches(self) -> Iterator[int]:
        for number in range(1, self._loop.plan.total_steps + 1):
            self._now = max(self._now, self._ends[-2]) + self._input_seconds
            yield number

    def _evaluate(self, done: int) -> None:
        self._now = max(self._now, self._ends[-1]) + EVALUATION


@pytest.mark.parametrize(
    ("input_seconds", "asynchronous", "seconds"),
    [
        (1.0, False, [11.0] * 5),
        (1.0, True, [11.0, 10.0, 11.0, 10.0, 11.0]),
        (30.0, True, [40.0, 30.0, 40.0, 30.0, 40.0]),
    ],
)
def test_seconds_of_a_step_and_of_an_epoch_end_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, input_seconds: float, asynchronous: bool, seconds: list[float]
) -> None:
    training = TimedTraining(input_seconds=input_seconds, asynchronous=asynchronous)
    clock = SimpleNamespace(monotonic=training.monotonic)
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(step_reports, "time", clock)
    training.run()
    assert training.seconds == seconds
    # the epoch ends with step 3, after an evaluation, and not when that is reported, after step 4
    assert training.epochs == [sum(seconds[:3]) + EVALUATION]
