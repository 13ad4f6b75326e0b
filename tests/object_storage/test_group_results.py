"""Several nodes with a results URL and no shared volume, each in a directory of its own on this machine."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.object_storage.conftest import GetServer
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.stand_in_task import PROGRAM, StandInLaunch
from tests.object_storage.test_pipeline import weights_in
from tests.object_storage.training_launches import (
    SECONDS,
    TrainingLaunch,
    Trainings,
    has_published,
    kill_group,
    trainings_on,
    wait_until,
)
from tests.object_storage.user_stores import UserStore

STEPS, EVERY = 16, 4
MODEL = f"model.step-{STEPS}.tlt"
ONE_THREAD = ("--threads-per-process", "1")

pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True)
class NodeLaunch(StandInLaunch):
    """``maskrcnn launch`` of the stand-in task on one of several nodes.

    Attributes:
        nodes: number of nodes.
        node: rank of the node.
        port: of the rendezvous.
    """

    nodes: int = 8
    node: int = 0
    port: int = 0

    @property
    def command(self) -> list[str]:
        """Return the command line."""
        return [
            *(*PROGRAM, "launch", "--nodes", str(self.nodes), "--node-rank", str(self.node)),
            *("--rendezvous", f"127.0.0.1:{self.port}", "--"),
            *("train", "-d", self.results_url, "--store-config", str(self.config), *self.options),
        ]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_seven_nodes_of_a_finished_step_end_without_node_0(moto_store: UserStore, tmp_path: Path) -> None:
    step = StepInStore(moto_store)
    first = StandInLaunch(step.url, step.store.config(), tmp_path, options=("--steps", "10"))
    assert first.run().returncode == 0
    before = step.pointer()
    launch = NodeLaunch(step.url, first.config, tmp_path, port=free_port())
    with ExitStack() as stack:
        processes = [stack.enter_context(replace(launch, node=node).started()) for node in range(1, 8)]
        for process in processes:
            output, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, output
            assert "nothing to do" in output
    assert step.pointer() == before


def test_node_of_an_earlier_attempt_ends_without_node_0(moto_store: UserStore, tmp_path: Path) -> None:
    step = StepInStore(moto_store)
    first = StandInLaunch(step.url, step.store.config(), tmp_path, attempt=2, options=("--fail-at", "5"))
    assert first.run().returncode == 64
    late = NodeLaunch(step.url, first.config, tmp_path, attempt=1, node=1, port=free_port())
    done = late.run()
    assert done.returncode == 75, done.stdout
    assert late.message()["error"]["laterAttempt"] == 2


@pytest.fixture(scope="module")
def trainings(get_server: GetServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    """Return the places of the trainings."""
    folder = tmp_path_factory.mktemp("trainings")
    with trainings_on(get_server("moto"), folder, steps=STEPS, every=EVERY) as places:
        yield places


@pytest.fixture(scope="module")
def straight(trainings: Trainings) -> StepInStore:
    """Return the results of a training by two processes of one node, in one attempt."""
    trainings.launch("straight", 1, "--processes-per-node", "2", *ONE_THREAD).finish()
    return trainings.step("straight")


def two_nodes(trainings: Trainings, attempt: int) -> tuple[TrainingLaunch, TrainingLaunch]:
    """Return an attempt on two nodes that share no directory."""
    group = ("--nodes", "2", "--rendezvous", f"127.0.0.1:{free_port()}", *ONE_THREAD)
    first, second = (
        trainings.launch("killed", attempt, *group, "--node-rank", str(node), node=node) for node in range(2)
    )
    return first, second


@pytest.fixture(scope="module")
def killed(trainings: Trainings) -> StepInStore:
    """Return the results of a training on two nodes whose first attempt lost node 1 in the middle."""
    step = trainings.step("killed")
    first, second = two_nodes(trainings, 1)
    with first.in_group() as node_0, second.in_group() as node_1:
        with trainings.holding_uploads(EVERY) as reached:
            wait_until(reached.is_set, node_0, first)
            # no step is done without it
            os.killpg(node_1.pid, signal.SIGSTOP)
        wait_until(lambda: has_published(step, EVERY), node_0, first)
        kill_group(node_1)
        assert node_0.wait(SECONDS) == 75, first.output.read_text()[-4000:]
    assert step.published().result is None
    first, second = two_nodes(trainings, 2)
    with second.in_group() as node_1:
        first.finish()
        assert node_1.wait(SECONDS) == 0, second.output.read_text()[-4000:]
    return step


def test_weights_of_two_nodes_are_those_of_two_processes(
    straight: StepInStore, killed: StepInStore, tmp_path: Path
) -> None:
    models = []
    for number, step in enumerate((straight, killed)):
        models.append(tmp_path / f"{number}.tlt")
        models[-1].write_bytes(step.files()[MODEL])
    weights = [weights_in(model) for model in models]
    assert len(weights[0]) == 2
    assert weights[0] == weights[1]


def test_next_attempt_resumes_on_both_nodes(killed: StepInStore, trainings: Trainings) -> None:
    output = (trainings.folder / "killed-2" / "output-2.log").read_text()
    assert "resuming from the published checkpoint of step" in output
    assert killed.pointer().order.attempt == 2
    assert not list((trainings.folder / "killed-2-node-1" / "work").rglob("*.tlt"))


def test_log_of_the_other_node_is_published(killed: StepInStore, trainings: Trainings) -> None:
    path = "logs/attempt-2.node-1.log"
    here = trainings.folder / "killed-2-node-1" / "work" / "killed" / "train" / path
    published = killed.files()[path]
    assert published
    assert here.read_bytes().startswith(published)
