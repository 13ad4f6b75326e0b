"""Order in which the check of GPUs gives steps to the device and reads their results."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from gpu_check_network import timed_steps

pytestmark = pytest.mark.trainer

STEPS = 4
SECONDS = 5.0


class Result(dict[str, float]):
    """Result of a step whose copy ends once the device was given the next step."""

    def __init__(self, number: int) -> None:
        super().__init__(total_loss=float(number))
        self.is_last = number == STEPS - 1
        self.copy_started = threading.Event()
        self.next_given = threading.Event()

    def read(self) -> None:
        self.copy_started.set()
        assert self.is_last or self.next_given.wait(SECONDS), "the host waited for a step before it gave the next one"


class Device:
    """Device that accepts a step only if the copy of the result before was started, which else waits for the step."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def __call__(self, batch: Mapping[str, Any]) -> Result:
        if self.results:
            assert self.results[-1].copy_started.wait(SECONDS), "the copy of a result starts after the next step"
            self.results[-1].next_given.set()
        self.results.append(Result(len(self.results)))
        return self.results[-1]


def test_result_is_copied_before_the_next_step_and_awaited_after_it() -> None:
    timed = timed_steps(Device(), iter([{}] * STEPS), STEPS)  # type: ignore[arg-type]
    assert timed.values == {"total_loss": STEPS - 1}
    assert (len(timed.seconds), len(timed.waiting)) == (STEPS, STEPS)
