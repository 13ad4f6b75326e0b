"""Suspension and resumption of experiments; a failed step is retried after a resumption."""

from __future__ import annotations

import pytest
from tests.apiserver.kubelet import PlayedKubelet
from tests.apiserver.pod_scripts import Play
from tests.apiserver.runtime.experiments import CONVERT, EVALUATE, GANG, TRAIN, Cluster, condition, manifest, step_of
from tests.apiserver.runtime.running import RunningOperator

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("crd")]


def test_suspended_training_stops_after_a_checkpoint_and_can_resume(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(seconds=None, checkpoint_step=60, stop_seconds=6.0), attempt=1)
    cluster.apply(manifest("pause", CONVERT, GANG, EVALUATE))
    kubelet.wait_running("train", pods=2)
    cluster.edit("pause", {"suspend": True})
    cluster.wait_ready("pause", "Stopping")
    found = cluster.wait_ready("pause", "Suspended")
    assert {item["type"]: item["status"] for item in found["status"]["conditions"]} == {
        "Suspended": "True",
        "Succeeded": "Unknown",
        "Ready": "True",
    }
    step = step_of(found, "train")
    assert (step["state"], step["restarts"]) == ("Pending", 0)
    assert not kubelet.running("train")
    assert step_of(found, "convert")["state"] == "Succeeded"
    cluster.edit("pause", {"suspend": False})
    done = cluster.wait_ready("pause", "Succeeded")
    assert step_of(done, "train")["attempt"] == 2
    assert [facts.step for facts in kubelet.started].count("convert") == 1
    names = cluster.wait_event("pause", "Succeeded")
    assert names.index("Suspended") < names.index("Resumed")


def test_experiment_created_suspended_starts_nothing(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    cluster.apply(manifest("later", CONVERT, suspend=True))
    cluster.wait_ready("later", "Suspended")
    assert not cluster.jobs()
    cluster.edit("later", {"suspend": False})
    cluster.wait_ready("later", "Succeeded")


def test_failed_step_is_retried_after_a_resumption(
    operator: RunningOperator, cluster: Cluster, kubelet: PlayedKubelet
) -> None:
    kubelet.play("train", Play(exit_code=64), attempt=1)
    cluster.apply(manifest("again", CONVERT, TRAIN, EVALUATE))
    cluster.wait_ready("again", "Failed")
    cluster.edit("again", {"suspend": True})
    suspended = cluster.wait(
        "again", lambda found: condition(found, "Suspended") is not None, "the condition Suspended"
    )
    assert step_of(suspended, "train")["state"] == "Failed"
    cluster.edit("again", {"suspend": False})
    done = cluster.wait_ready("again", "Succeeded")
    step = step_of(done, "train")
    assert (step["attempt"], step["restarts"]) == (2, 0)
    assert [facts.step for facts in kubelet.started] == ["convert", "train", "train", "evaluate"]
