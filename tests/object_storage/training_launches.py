"""Real trainings by ``maskrcnn launch`` with results in a store, each attempt on a machine without earlier files."""

from __future__ import annotations

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

import yaml
from tests.object_storage.commands import environment
from tests.object_storage.local_runs import generate_shapes
from tests.object_storage.proxy import Fault, FaultProxy, Request, proxy_to
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.servers import ObjectServer
from tests.object_storage.stand_in_task import StandInLaunch
from tests.object_storage.user_stores import UserStore

SECONDS = 900.0
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MASKRCNN_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}


@dataclass(frozen=True)
class TrainingLaunch(StandInLaunch):
    """``maskrcnn launch`` of the real training.

    Attributes:
        spec: its file.
        flags: of ``launch``.
    """

    spec: Path = Path()
    flags: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """Return the command line."""
        return [
            *(sys.executable, "-m", "maskrcnn_trainer.cli", "launch", *self.flags, "--"),
            *("train", "-e", str(self.spec)),
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
    """Wait until a condition holds, as long as a launch runs."""
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
        """Return the step of an experiment."""
        return StepInStore(self.store, experiment=experiment)

    def launch(self, experiment: str, attempt: int, *flags: str, node: int = 0) -> TrainingLaunch:
        """Return an attempt, or the one on another node, on a machine that has no file of an earlier one."""
        machine = self.folder / (f"{experiment}-{attempt}" if node == 0 else f"{experiment}-{attempt}-node-{node}")
        (machine / "tmp").mkdir(parents=True)
        return TrainingLaunch(
            self.step(experiment).url,
            self.store.config(self.proxy.url),
            machine,
            attempt=attempt,
            working_dir=machine / "work",
            variables={**ONE_THREAD, "TMPDIR": str(machine / "tmp")},
            spec=self.spec,
            flags=flags,
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


@contextmanager
def trainings_on(server: ObjectServer, folder: Path, *, steps: int, every: int) -> Iterator[Trainings]:
    """Return the places of the trainings, with a spec and its records on this machine.

    Args:
        server: gets a new container.
        folder: empty directory.
        steps: of a training.
        every: steps between two checkpoints.
    """
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
    spec.write_text(yaml.safe_dump(spec_of(data, steps, every)))
    store = UserStore(server, server.new_container(), folder)
    with proxy_to(server.address, server.root(store.container)) as proxy:
        yield Trainings(store, proxy, spec, folder)


def spec_of(data: Path, steps: int, every: int) -> dict[str, Any]:
    """Return the spec of a training that takes a few seconds."""
    return {
        "seed": 3,
        "deterministic": True,
        "totalSteps": steps,
        "numStepsPerEval": every,
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


def has_published(step: StepInStore, checkpoint: int) -> bool:
    """Return whether the checkpoint of a step is published."""
    try:
        return f"model.step-{checkpoint}.tlt" in step.published().checkpoints
    except (FileNotFoundError, AssertionError):
        return False


def is_upload(request: Request, checkpoint: int) -> bool:
    """Return whether a request uploads the checkpoint of a step."""
    return request.method in ("PUT", "POST") and request.key.endswith(f"-model.step-{checkpoint}.tlt")
