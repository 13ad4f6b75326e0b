"""A preempted training whose results are in a bucket: its new pod has no file of the earlier one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import TRAIN, Cluster, manifest, step_of
from tests.kueue.conftest import Log
from tests.kueue.pod_processes import PodProcesses
from tests.kueue.queues import QUEUE, Queues
from tests.object_storage.published_steps import StepInStore
from tests.object_storage.servers import REGION, moto
from tests.object_storage.user_stores import UserStore

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd", "operator"), pytest.mark.timeout(300)]

KEYS = "store-keys"
LOW, HIGH = "low", "high"
LAST, HELD = 40, 20
# the stand-in task is one process, and a step has one for each GPU
STEP: dict[str, Any] = {**TRAIN, "gpusPerNode": 1}
RUNS = Play(seconds=None)


@dataclass(frozen=True)
class Preempted:
    """Training that is preempted.

    Attributes:
        store: the bucket.
        pods: its pods.
        release: file with which a pod continues behind the step HELD.
    """

    store: UserStore
    pods: PodProcesses
    release: Path

    @property
    def step(self) -> StepInStore:
        """Return what it has published."""
        return StepInStore(self.store, experiment=LOW)

    @property
    def newest_checkpoint(self) -> str:
        """Return the name of the newest published checkpoint; empty if there is none."""
        with suppress(FileNotFoundError, AssertionError):
            return next(reversed(self.step.published().checkpoints), "")
        return ""


@pytest.fixture
def preempted(tmp_path: Path) -> Iterator[Preempted]:
    """Yield a training in a new bucket of moto."""
    with moto() as server:
        release = tmp_path / "release"
        options = ("--steps", str(LAST), "--every", "10", "--hold-at", str(HELD), "--release", str(release))
        pods = PodProcesses(tmp_path / "pods", server.secret, options)
        yield Preempted(UserStore(server, server.new_container(), tmp_path), pods, release)


def in_bucket(store: UserStore) -> dict[str, Any]:
    """Return the fields of an experiment whose workspace is the bucket."""
    entry = {
        "prefix": store.url,
        "endpoint": store.server.endpoint(),
        "region": REGION,
        "allowHttp": True,
        "secretRef": {"name": KEYS},
    }
    return {"workspace": {"objectStorage": {"url": f"{store.url}/results"}}, "objectStores": [entry]}


def test_preempted_step_resumes_from_the_bucket(
    cluster: Cluster, kubelet: PlayedKubelet, queues: Queues, preempted: Preempted, log: Log
) -> None:
    queues.create(gpus=1)
    queues.add_priorities()
    kubelet.play("train", RUNS)
    kubelet.script = lambda facts: Play(program=preempted.pods.run) if facts.experiment == LOW else None
    spec = {name: {"podOverrides": {"priorityClassName": name}, "queueName": QUEUE} for name in (LOW, HIGH)}
    cluster.apply(manifest(LOW, STEP, maxRestarts=0, **in_bucket(preempted.store), **spec[LOW]))
    checkpoint = f"model.step-{HELD}.tlt"
    cluster.wait_for(lambda: preempted.newest_checkpoint == checkpoint, "a published checkpoint")
    log(f"low: published {checkpoint} in its bucket")

    cluster.apply(manifest(HIGH, STEP, **spec[HIGH]))
    waiting = step_of(cluster.wait_ready(LOW, "Queued"), "train")
    assert (waiting["attempt"], waiting["restarts"], waiting["disruptions"]) == (1, 0, 0)
    cluster.wait_ready(HIGH, "Running")
    log(f"low: {waiting['reason']}: {waiting['message']}; high: runs")
    assert preempted.step.published().result is None

    preempted.release.touch()
    kubelet.finish("train")
    cluster.wait_ready(HIGH, "Succeeded")
    done = step_of(cluster.wait_ready(LOW, "Succeeded"), "train")
    assert (done["attempt"], done["restarts"], done["disruptions"]) == (1, 0, 0)
    first, second = [preempted.pods.output(facts.name) for facts in kubelet.started if facts.experiment == LOW]
    assert "resuming from" not in first
    assert f"resuming from the published checkpoint of step {HELD}" in second
    pointer, history = preempted.step.pointer(), preempted.step.files()["history.jsonl"]
    assert [json.loads(line)["step"] for line in history.splitlines()] == [*range(1, LAST + 1)]
    assert (pointer.epoch, pointer.order.attempt) == (2, 1)
    log(f"low: Succeeded in the same Job; its second pod resumed from step {HELD} of the bucket")
