"""Steps with which trials begin: half done, or done with two fingerprints; and another machine that takes them over."""

from __future__ import annotations

from typing import Any

from tests.object_storage.fault_bench import IN_STEP, OTHER_FINGERPRINT, FaultBench
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.store_reader import seen

OF_OTHER_MACHINE: dict[str, Any] = {
    "owner_id": "other",
    "uid": "7d0c7b9e-1111-4222-8333-9a0b1c2d3e4f",
    "created": "2026-02-01T12:00:00Z",
}
"""Identity of an attempt of a second machine."""
TAKE_OVER: dict[str, Any] = {"variables": {"MASKRCNN_TAKE_OVER_FROM": "lab/1"}}
"""Variables with which an attempt takes the experiment over from the first machine."""


def half_done(bench: FaultBench, checkpoints: int = 2) -> StepInStore:
    """Return a step whose first attempt was killed after it had published some checkpoints."""
    with bench.trial() as trial:
        attempt = trial.start(1, (*IN_STEP, "--hold-at", str(checkpoints)))
        attempt.wait_until_it_holds()
        attempt.kill()
        assert seen(trial.step).attempts == (1,) * checkpoints
        return trial.step


def edited_step(bench: FaultBench) -> StepInStore:
    """Return a step that is done with its fingerprint, and then with another one."""
    with bench.trial() as trial:
        assert trial.start(1).wait() == 0
        assert trial.start(2, fingerprint=OTHER_FINGERPRINT).wait() == 0
        return trial.step
