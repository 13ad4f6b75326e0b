"""A training of 40 steps whose attempts are killed and continued by other machines: the weights of a straight one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.object_storage.commands import environment
from tests.object_storage.conftest import GetServer
from tests.object_storage.local_runs import generate_shapes
from tests.object_storage.proxy import Fault, FaultProxy, Request, proxy_to
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.stand_in_task import StandInLaunch
from tests.object_storage.test_pipeline import weights_in
from tests.object_storage.user_stores import UserStore

from maskrcnn_trainer.results.history import History, read_history

SECONDS = 900.0
STEPS, EVERY = 40, 10
MODEL = f"model.step-{STEPS}.tlt"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MASKRCNN_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}

pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True)
class TrainingLaunch(StandInLaunch):
    """``maskrcnn launch`` of the real training.

    Attributes:
        spec: its file.
    """

    spec: Path = Path()

    @property
    def command(self) -> list[str]:
        """Return the command line."""
        return [
            *(sys.executable, "-m", "maskrcnn_trainer.cli", "launch", "--", "train", "-e", str(self.spec)),
            *("-d", self.results_url, "--store-config", str(self.config)),
        ]

    @contextmanager
    def in_group(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start the command in a process group of its own, with its output in a file, and kill it with the block."""
        with (
            self.output.open("wb") as output,
            subprocess.Popen(
                self.command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            ) as process,
        ):  # fmt: skip
            try:
                yield process
            finally:
                kill_group(process)

    @property
    def output(self) -> Path:
        """Return the file of the output."""
        return self.directory / f"output-{self.attempt}.log"

    def finish(self) -> None:
        """Run the command to its end."""
        with self.in_group() as process:
            assert process.wait(SECONDS) == 0, self.output.read_text()[-4000:]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group, unless it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[bytes], launch: TrainingLaunch) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert process.poll() is None, launch.output.read_text()[-4000:]
        assert time.monotonic() < deadline, launch.output.read_text()[-4000:]
        time.sleep(0.05)


@dataclass(frozen=True)
class Trainings:
    """Places of the trainings: one store, and a directory of each machine.

    Attributes:
        store: the bucket.
        proxy: in front of it.
        spec: file of the spec.
        folder: for the machines.
    """

    store: UserStore
    proxy: FaultProxy
    spec: Path
    folder: Path

    def step(self, experiment: str) -> StepInStore:
        return StepInStore(self.store, experiment=experiment)

    def launch(self, experiment: str, attempt: int) -> TrainingLaunch:
        """Return an attempt on a machine that has no file of an earlier one."""
        machine = self.folder / f"{experiment}-{attempt}"
        (machine / "tmp").mkdir(parents=True)
        return TrainingLaunch(
            self.step(experiment).url,
            self.store.config(self.proxy.url),
            machine,
            attempt=attempt,
            working_dir=machine / "work",
            variables={**ONE_THREAD, "TMPDIR": str(machine / "tmp")},
            spec=self.spec,
        )

    @contextmanager
    def holding_uploads(self, checkpoint: int) -> Iterator[threading.Event]:
        """Hold the uploads of a checkpoint until the end of the block; the event is set once one is held."""
        reached, go_on = threading.Event(), threading.Event()

        def hold(_: Request) -> None:
            reached.set()
            go_on.wait(SECONDS)

        self.proxy.faults = [Fault(matches=lambda one: is_upload(one, checkpoint), times=None, before=hold)]
        try:
            yield reached
        finally:
            self.proxy.faults = []
            go_on.set()


@pytest.fixture(scope="module")
def trainings(get_server: GetServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    """Return the places of the trainings, with a spec and its records on this machine."""
    folder = tmp_path_factory.mktemp("trainings")
    data = folder / "data"
    generate_shapes(data, train=9, val=3)
    for split in ("train", "val"):
        convert = ["dataset_convert", "-i", str(data / "images"), "-a", str(data / f"{split}.json"), "-t", split]
        subprocess.run(
            [sys.executable, "-m", "maskrcnn_trainer.cli", *convert, "-s", "2", "-o", str(data / split)],
            env=environment(),
            check=True,
        )
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(spec_of(data)))
    server = get_server("moto")
    store = UserStore(server, server.new_container(), folder)
    with proxy_to(server.address, server.root(store.container)) as proxy:
        yield Trainings(store, proxy, spec, folder)


def spec_of(data: Path) -> dict[str, Any]:
    return {
        "seed": 3,
        "deterministic": True,
        "totalSteps": STEPS,
        "numStepsPerEval": EVERY,
        "trainBatchSize": 1,
        "evalBatchSize": 3,
        "initLearningRate": 0.005,
        "loggingFrequency": 1,
        "dataConfig": {
            "imageSize": [128, 128],
            "numClasses": 4,
            "maxNumInstances": 12,
            "trainingFilePattern": str(data / "train" / "train-*.tfrecord"),
            "validationFilePattern": str(data / "val" / "val-*.tfrecord"),
            "valJsonFile": str(data / "val.json"),
        },
        "maskrcnnConfig": {
            "nlayers": 10,
            "freezeBn": False,
            "freezeBlocks": [],
            "gtMaskSize": 28,
            "batchSizePerIm": 16,
            "fastRcnnMlpHeadDim": 32,
            "trainRpnPreNmsTopn": 64,
            "trainRpnPostNmsTopn": 32,
            "testRpnPreNmsTopn": 32,
            "testRpnPostNmsTopn": 16,
            "testDetectionsPerImage": 8,
        },
    }


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


def has_published(step: StepInStore, checkpoint: int) -> bool:
    try:
        return f"model.step-{checkpoint}.tlt" in step.published().checkpoints
    except (FileNotFoundError, AssertionError):
        return False


def is_upload(request: Request, checkpoint: int) -> bool:
    return request.method in ("PUT", "POST") and request.key.endswith(f"-model.step-{checkpoint}.tlt")


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
