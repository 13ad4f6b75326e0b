"""A training of 40 steps whose attempts are killed and continued by other machines: the weights of a straight one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.object_storage.conftest import GetServer
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.test_pipeline import weights_in
from tests.object_storage.training_launches import Trainings, has_published, trainings_on, wait_until

from maskrcnn_trainer.results.history import History, read_history

STEPS, EVERY = 40, 10
MODEL = f"model.step-{STEPS}.tlt"

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def trainings(get_server: GetServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    """Return the places of the trainings."""
    folder = tmp_path_factory.mktemp("trainings")
    with trainings_on(get_server("moto"), folder, steps=STEPS, every=EVERY) as places:
        yield places


@pytest.fixture(scope="module")
def straight(trainings: Trainings) -> StepInStore:
    """Return the results of a training in one attempt."""
    trainings.launch("straight", 1).finish()
    return trainings.step("straight")


@pytest.fixture(scope="module")
def killed(trainings: Trainings) -> StepInStore:
    """Return the results of a training whose first two attempts were killed.

    The first one is killed while it trains, with its first checkpoint published; the second one in the middle of the
    upload of its second checkpoint. What was sent of an upload reaches the store after the death of its process.
    """
    step = trainings.step("killed")
    first, second = (trainings.launch("killed", attempt) for attempt in (1, 2))
    with trainings.holding_uploads(2 * EVERY), first.in_group() as process:
        wait_until(lambda: has_published(step, EVERY), process, first)
    with trainings.holding_uploads(3 * EVERY) as reached, second.in_group() as process:
        wait_until(reached.is_set, process, second)
    assert step.published().checkpoints[-1] == f"model.step-{2 * EVERY}.tlt"
    trainings.launch("killed", 3).finish()
    return step


def test_weights_are_equal_bit_for_bit(straight: StepInStore, killed: StepInStore, tmp_path: Path) -> None:
    models = []
    for number, step in enumerate((straight, killed)):
        models.append(tmp_path / f"{number}.tlt")
        models[-1].write_bytes(step.files()[MODEL])
    weights = [weights_in(model) for model in models]
    assert len(weights[0]) == 2
    assert weights[0] == weights[1]


def test_attempts_continue_from_what_the_one_before_had_published(killed: StepInStore, trainings: Trainings) -> None:
    outputs = [(trainings.folder / f"killed-{attempt}" / f"output-{attempt}.log").read_text() for attempt in (2, 3)]
    assert f"Resuming from step {EVERY}" in outputs[0]
    assert f"Resuming from step {2 * EVERY}" in outputs[1]
    pointer = killed.pointer()
    assert (pointer.epoch, pointer.order.attempt) == (3, 3)


def test_losses_and_evaluations_are_equal(straight: StepInStore, killed: StepInStore, tmp_path: Path) -> None:
    histories = []
    for step in (straight, killed):
        files = step.files()
        assert [*json.loads(files["evaluations.json"])] == [str(at) for at in range(EVERY, STEPS + 1, EVERY)]
        (tmp_path / "history.jsonl").write_bytes(files["history.jsonl"])
        history = read_history(tmp_path)
        assert isinstance(history, History)
        histories.append(history)
    assert [one.step for one in histories[0].windows] == [*range(1, STEPS + 1)]
    for history in histories:
        assert history.evaluations == histories[0].evaluations
        losses = [(one.step, one.losses) for one in history.windows]
        assert losses == [(one.step, one.losses) for one in histories[0].windows]
