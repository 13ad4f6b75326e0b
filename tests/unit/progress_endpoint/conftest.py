"""Clock that only moves when a test moves it, and the parts of a cluster with one training experiment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.status import ExperimentStatus, StepState, StepStatus
from maskrcnn_operator.jobs.views import JobView, PodView

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
MANIFEST = yaml.safe_load((Path(__file__).parents[1] / "core" / "nine_steps.yaml").read_text())


class FakeTime:
    """Clock, time of day, and sleep, all moved by :meth:`advance`."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 1000.0)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.seconds + seconds, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move the time forward, and run everything that becomes due."""
        await self.settle()
        self.seconds += seconds
        for until, future in [item for item in self._sleepers if item[0] <= self.seconds]:
            self._sleepers.remove((until, future))
            if not future.done():
                future.set_result(None)
        await self.settle()

    @staticmethod
    async def settle() -> None:
        for _ in range(20):
            await asyncio.sleep(0)


@dataclass
class Cluster:
    """Cluster view of the endpoint: one experiment in namespace ``lab`` whose train step runs as pod ``pod-uid``."""

    experiments: dict[tuple[str, str], MaskRCNNExperiment]
    jobs: dict[str, JobView] = field(default_factory=dict)
    pods: dict[str, PodView] = field(default_factory=dict)
    listed: bool = True

    def experiment(self, namespace: str, name: str) -> MaskRCNNExperiment | None:
        return self.experiments.get((namespace, name))

    def job(self, uid: str) -> JobView | None:
        return self.jobs.get(uid)

    def pod(self, uid: str) -> PodView | None:
        return self.pods.get(uid)

    @property
    def nuclei(self) -> MaskRCNNExperiment:
        return self.experiments["lab", "nuclei"]

    def change_status(self, **update: Any) -> None:
        status = self.nuclei.status.model_copy(update=update)
        self.experiments["lab", "nuclei"] = self.nuclei.with_status(status)

    def change_step(self, **update: Any) -> None:
        """Change the status of the train step."""
        steps = tuple(
            step.model_copy(update=update) if step.name == "train" else step for step in self.nuclei.status.steps
        )
        self.change_status(steps=steps)

    def change_job(self, **update: Any) -> None:
        self.jobs["job-uid"] = replace(self.jobs["job-uid"], **update)

    def change_pod(self, **update: Any) -> None:
        self.pods["pod-uid"] = replace(self.pods["pod-uid"], **update)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def cluster() -> Cluster:
    return one_training()


def one_training() -> Cluster:
    """Return a cluster with one experiment, whose train step runs."""
    experiment = read_object(
        {**MANIFEST, "metadata": {"name": "nuclei", "namespace": "lab", "uid": "experiment-uid", "generation": 1}}
    )
    steps = (
        StepStatus(name="convert-train", state=StepState.SUCCEEDED, attempt=1, job_name="nuclei-convert-train-1-abcde"),
        StepStatus(
            name="train", state=StepState.RUNNING, attempt=2, job_name="nuclei-train-2-abcde", fingerprint="9f2c-v1"
        ),
        StepStatus(name="evaluate"),
    )
    experiment = experiment.with_status(ExperimentStatus(observed_generation=1, steps=steps, current_step="train"))
    job = JobView(
        uid="job-uid", name="nuclei-train-2-abcde", namespace="lab", experiment="nuclei", step="train", attempt=2,
        experiment_uid="experiment-uid",
    )  # fmt: skip
    pod = PodView(uid="pod-uid", name="nuclei-train-2-abcde-0-x", namespace="lab", job_uid="job-uid", phase="Running")
    return Cluster({("lab", "nuclei"): experiment}, {"job-uid": job}, {"pod-uid": pod})
