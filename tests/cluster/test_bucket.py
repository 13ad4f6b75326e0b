"""Experiments in a bucket, in a namespace without a claim: lost nodes and a lost bucket change only times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.binaries import locked, say_on_screen
from tests.cluster.bucket import NamespaceBucket
from tests.cluster.experiments import CONVERT, GANG
from tests.cluster.local_runs import assert_same_weights, run_locally
from tests.cluster.node import Node, node_of, placed_on

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

TRAINING = {"totalSteps": 24, "numStepsPerEval": 6, "learningRateSteps": [22]}
MODEL = "model.step-24.tlt"
LOCAL = "local"
EXPORT: dict[str, Any] = {"name": "export", "export": {"dataType": "fp32", "batchSize": 2}}
OUTAGE_SECONDS = 120.0


def train_locally(bucket: NamespaceBucket, shapes: Path) -> Path:
    """Return a model that two processes of this machine have trained, once for all scenarios of a cluster."""
    folder = bucket.bed.folder / "trained-locally"
    model = folder / LOCAL / "train" / MODEL
    with locked(folder.with_suffix(".lock"), "training on this machine", say_on_screen):
        if not model.exists():
            # a local run reads no Secret, even where it needs no store
            keys = ("--store-config", str(bucket.store.config()))
            run_locally(bucket.experiment(LOCAL, [*CONVERT, GANG], TRAINING), folder, shapes, *keys)
    return model


@contextmanager
def training_locally(bucket: NamespaceBucket, shapes: Path) -> Iterator[Future[Path]]:
    """Train on this machine during the block; the future has the model."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(train_locally, bucket, shapes)


def check_weights(bucket: NamespaceBucket, name: str, local: Path, folder: Path) -> None:
    """Check that the published model is equal to one of this machine."""
    published = folder / MODEL
    published.write_bytes(bucket.step(name, "train").files()[MODEL])
    assert_same_weights(published, local)


def test_gang_continues_from_the_bucket_when_its_second_node_is_cut_off(
    bucket: NamespaceBucket, two_nodes: list[Node], shapes: Path, tmp_path: Path
) -> None:
    team = bucket.team
    team.apply(bucket.experiment("cut", [*CONVERT, GANG, EXPORT], TRAINING, podOverrides=placed_on(two_nodes)))
    bucket.wait_checkpoint("cut")
    pods = team.pods("cut", "train")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    node = node_of(two_nodes, pods[1])
    with training_locally(bucket, shapes) as local:
        node.cut_network()
        try:
            team.wait("the next attempt", lambda: team.step("cut", "train").get("attempt") == 2, of="cut")
        finally:
            node.heal_network()
        status = team.wait_succeeded("cut")
    assert status["restarts"] == 0
    assert status["exportPath"] == f"{bucket.url}/cut/export/model.onnx"
    assert "model.onnx" in bucket.step("cut", "export").files()
    train = bucket.step("cut", "train")
    assert train.pointer().order.attempt == 2
    assert b"Resuming from step" in train.files()["logs/attempt-2.node-0.log"]
    check_weights(bucket, "cut", local.result(), tmp_path)


def test_bucket_that_goes_away_for_two_minutes_changes_nothing_but_times(
    bucket: NamespaceBucket, shapes: Path, tmp_path: Path
) -> None:
    team = bucket.team
    team.apply(bucket.experiment("outage", [*CONVERT, GANG], TRAINING, maxRestarts=0))
    bucket.wait_checkpoint("outage")
    with training_locally(bucket, shapes) as local:
        with bucket.away():
            time.sleep(OUTAGE_SECONDS)
            before = bucket.published_checkpoints("outage")
        status = team.wait_succeeded("outage")
    assert MODEL not in before
    assert (status["restarts"], [step["attempt"] for step in status["steps"]]) == (0, [1, 1, 1])
    assert bucket.step("outage", "train").pointer().epoch == 1
    check_weights(bucket, "outage", local.result(), tmp_path)
