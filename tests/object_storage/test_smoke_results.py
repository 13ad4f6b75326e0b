"""A step whose attempt is killed and continued through moto, then listed and loaded: smoke test of CI for results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.object_storage.conftest import GetServer
from tests.object_storage.local_runs import artifacts, files_below
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.stand_in_task import FINGERPRINT, StandInLaunch, attempts_in, wait_until_it_holds
from tests.object_storage.user_stores import UserStore


@dataclass(frozen=True)
class ContinuedStep:
    """Step of two attempts, of which the first was killed.

    Attributes:
        step: in the store.
        second: the attempt that has finished it.
    """

    step: StepInStore
    second: StandInLaunch

    def artifacts(self, action: str, *arguments: str) -> str:
        """Run an action of ``maskrcnn artifacts``, and return its output."""
        url = f"{self.step.store.url}/{self.step.prefix}"
        return artifacts(url, self.step.store.config(), action, *arguments)


@pytest.fixture(scope="module")
def continued(get_server: GetServer, tmp_path_factory: pytest.TempPathFactory) -> ContinuedStep:
    """Return the step."""
    server, folder = get_server("moto"), tmp_path_factory.mktemp("continued")
    step = StepInStore(UserStore(server, server.new_container(), folder))
    config = step.store.config()
    first = StandInLaunch(step.url, config, folder, options=("--steps", "20", "--every", "10", "--hold-at", "10"))
    with first.started() as process:
        wait_until_it_holds(process)
        process.kill()
    second = StandInLaunch(step.url, config, folder, attempt=2, options=("--steps", "20", "--every", "10"))
    done = second.run()
    assert done.returncode == 0, done.stdout
    return ContinuedStep(step, second)


def test_killed_attempt_is_continued_by_the_next(continued: ContinuedStep) -> None:
    assert attempts_in(continued.step.files()["model.step-20.tlt"]) == [1] * 10 + [2] * 10
    assert continued.second.message()["checkpointStep"] == 20


def test_step_is_listed_as_complete(continued: ContinuedStep) -> None:
    steps = json.loads(continued.artifacts("list", "exp", "--json"))["experiments"]["exp"]["steps"]
    current = steps["train"]["current"]
    assert (current["fingerprint"], current["complete"]) == (FINGERPRINT, True)
    assert current["checkpoints"] == ["model.step-10.tlt", "model.step-20.tlt"]


def test_loaded_files_are_the_published_ones(continued: ContinuedStep, tmp_path: Path) -> None:
    continued.artifacts("get", "exp/train", "-o", str(tmp_path / "got"))
    assert files_below(tmp_path / "got") == continued.step.files()
