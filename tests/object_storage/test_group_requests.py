"""Requests of a training on eight nodes, by which the page on clusters without a shared volume states its costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.object_storage.conftest import GetServer
from tests.object_storage.proxy import FaultProxy, Passed, proxy_to
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.stand_in_task import SECONDS
from tests.object_storage.test_group_results import NodeLaunch, free_port
from tests.object_storage.user_stores import UserStore

from maskrcnn_trainer.launch.following import SECONDS_BETWEEN_LOGS

NODES = 8
FEW, MANY = 1, 4
"""Checkpoints of two trainings, whose difference shows what one costs."""
SECONDS_BETWEEN_CHECKPOINTS = 300
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "a-cluster-without-a-shared-volume.md"
BENCHMARKS = ROOT / "benchmarks" / "README.md"

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Counted:
    """Requests of a training.

    Attributes:
        passed: all requests.
    """

    passed: tuple[Passed, ...]

    @property
    def logs(self) -> list[Passed]:
        """Return the uploads of logs of other nodes."""
        named = re.compile(r"node-[1-9]\d*\.log$")
        return [one for one in self.passed if one.request.method == "PUT" and named.search(one.request.key)]

    def of_checkpoints(self) -> int:
        """Return the number of requests without uploads of logs, reads of records, and listings."""
        kept = [one for one in self.passed if one not in self.logs and not one.request.is_read]
        return len([one for one in kept if not one.request.is_list])


def counted(proxy: FaultProxy, step: StepInStore, folder: Path, checkpoints: int) -> Counted:
    """Return the requests of a training on eight nodes with so many checkpoints, each of which is published."""
    proxy.forget()
    options = ("--steps", str(10 * checkpoints), "--in-step")
    first = NodeLaunch(step.url, step.store.config(proxy.url), folder, port=free_port(), nodes=NODES, options=options)
    with ExitStack() as stack:
        processes = []
        for node in range(NODES):
            place = folder / f"{step.experiment}-{node}"
            place.mkdir()
            launch = replace(first, node=node, directory=place, working_dir=place / "work")
            processes.append(stack.enter_context(launch.started()))
        for process in processes:
            output, _ = process.communicate(timeout=SECONDS * 4)
            assert process.returncode == 0, output[-3000:]
    return Counted(tuple(proxy.passed))


@pytest.fixture(scope="module")
def trainings(get_server: GetServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Counted]]:
    """Return the requests of two trainings, by their number of checkpoints."""
    folder = tmp_path_factory.mktemp("groups")
    server = get_server("moto")
    store = UserStore(server, server.new_container(), folder)
    with proxy_to(server.address, server.root(store.container)) as proxy:
        yield {
            number: counted(proxy, StepInStore(store, experiment=f"of-{number}"), folder, number)
            for number in (FEW, MANY)
        }


def test_checkpoint_of_a_group_takes_six_requests(trainings: dict[int, Counted]) -> None:
    few, many = trainings[FEW].of_checkpoints(), trainings[MANY].of_checkpoints()
    # evaluations, history, model, status, manifest, and pointer
    assert (many - few) / (MANY - FEW) == 6


@pytest.mark.parametrize("checkpoints", [FEW, MANY])
def test_each_other_node_uploads_its_log_alone(trainings: dict[int, Counted], checkpoints: int) -> None:
    nodes = [one.request.key.rpartition("node-")[2] for one in trainings[checkpoints].logs]
    assert sorted(nodes) == [f"{node}.log" for node in range(1, NODES)]


def test_number_on_the_page_is_that_of_checkpoints_and_logs(trainings: dict[int, Counted]) -> None:
    [of_checkpoint] = re.findall(r"A checkpoint takes \*\*(\d+) requests\*\*", BENCHMARKS.read_text(encoding="utf-8"))
    [an_hour] = re.findall(r"about \*\*(\d+) requests an hour\*\*", PAGE.read_text(encoding="utf-8"))
    logs = len(trainings[FEW].logs) * 3600 / SECONDS_BETWEEN_LOGS
    assert int(an_hour) == int(of_checkpoint) * 3600 / SECONDS_BETWEEN_CHECKPOINTS + logs
