"""A preempted training whose results are in a bucket: its new pod has no file of the earlier one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
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
LAST, HELD = 40, 20
STEP: dict[str, Any] = {**TRAIN, "gpusPerNode": 2}
RUNS = Play(seconds=None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UserStore]:
    """Yield a new bucket of moto."""
    with moto() as server:
        yield UserStore(server, server.new_container(), tmp_path)


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


def newest_checkpoint(step: StepInStore) -> str:
    """Return the name of the newest published checkpoint; empty if there is none."""
    with suppress(FileNotFoundError, AssertionError):
        return next(reversed(step.published().checkpoints), "")
    return ""


def test_preempted_step_resumes_from_the_bucket(
    cluster: Cluster, kubelet: PlayedKubelet, queues: Queues, store: UserStore, tmp_path: Path, log: Log
) -> None:
    queues.create(gpus=2)
    queues.add_priorities()
    release = tmp_path / "release"
    options = ("--steps", str(LAST), "--every", "10", "--hold-at", str(HELD), "--release", str(release))
    pods = PodProcesses(tmp_path / "pods", store.server.secret, options)
    kubelet.play("train", RUNS)
    kubelet.script = lambda facts: Play(program=pods.run) if facts.experiment == "low" else None
    priorities = {name: {"podOverrides": {"priorityClassName": name}, "queueName": QUEUE} for name in ("low", "high")}
    step = StepInStore(store, experiment="low")

    cluster.apply(manifest("low", STEP, maxRestarts=0, **in_bucket(store), **priorities["low"]))
    cluster.wait_for(lambda: newest_checkpoint(step) == f"model.step-{HELD}.tlt", "a published checkpoint")
    log(f"low: published {newest_checkpoint(step)} in its bucket")
    cluster.apply(manifest("high", STEP, **priorities["high"]))
    waiting = step_of(cluster.wait_ready("low", "Queued"), "train")
    assert (waiting["attempt"], waiting["restarts"], waiting["disruptions"]) == (1, 0, 0)
    cluster.wait_ready("high", "Running")
    log(f"low: {waiting['reason']}: {waiting['message']}; high: runs")
    assert step.published().result is None

    release.touch()
    kubelet.finish("train")
    cluster.wait_ready("high", "Succeeded")
    done = step_of(cluster.wait_ready("low", "Succeeded"), "train")
    assert (done["attempt"], done["restarts"], done["disruptions"]) == (1, 0, 0)
    first, second = [facts.name for facts in kubelet.started if facts.experiment == "low"]
    assert "Resuming from" not in pods.output(first)
    assert f"Resuming from step {HELD}." in pods.output(second)
    steps = [json.loads(line)["step"] for line in step.files()["history.jsonl"].splitlines()]
    assert steps == [*range(1, LAST + 1)]
    assert (step.pointer().epoch, step.pointer().order.attempt) == (2, 1)
    log(f"low: Succeeded in the same Job; its second pod resumed from step {HELD} of the bucket")
