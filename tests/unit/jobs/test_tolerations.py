"""Time for which a worker group stays on an unresponsive node."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.jobs.defaults import JobDefaults
from maskrcnn_operator.jobs.manifests import job_manifest
from maskrcnn_operator.jobs.tolerations import with_worker_group_tolerations

from .cluster import GRACE, Cluster
from .conftest import Make
from .test_manifests import CONFIG, pod, starts, the_job

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
DETECTION = timedelta(seconds=50 + 5)
"""Time until a silent node counts as unreachable: node-monitor-grace-period (50 s since Kubernetes 1.32, 40 s before)
and node-monitor-period (5 s) of the controller manager."""
BAR = timedelta(minutes=5)


def ours(key: str) -> dict[str, Any]:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}


def without_tolerations(spec: dict[str, Any]) -> None:
    spec["podOverrides"] = {}


def test_worker_group_leaves_a_silent_node_after_30_seconds(make: Make) -> None:
    assert pod(the_job(make(without_tolerations)))["tolerations"] == [ours(NOT_READY), ours(UNREACHABLE)]


def test_step_of_one_node_keeps_the_default_of_kubernetes(make: Make) -> None:
    assert "tolerations" not in pod(the_job(make(without_tolerations), "evaluate"))


@pytest.mark.parametrize("operator", ["Exists", "Equal"])
@pytest.mark.parametrize("effect", ["NoExecute", None])
def test_given_toleration_of_a_taint_is_not_duplicated(operator: str, effect: str | None) -> None:
    given = {"key": UNREACHABLE, "operator": operator, "tolerationSeconds": 900}
    given |= {"effect": effect} if effect else {}
    assert with_worker_group_tolerations([given]) == [given, ours(NOT_READY)]


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({"operator": "Exists"}, []),
        ({"operator": "Exists", "effect": "NoExecute"}, []),
        ({"operator": "Exists", "effect": "NoSchedule"}, [NOT_READY, UNREACHABLE]),
        ({"key": UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}, [NOT_READY, UNREACHABLE]),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, [NOT_READY, UNREACHABLE]),
    ],
)
def test_only_a_toleration_of_these_taints_replaces_ours(given: dict[str, str], added: list[str]) -> None:
    assert with_worker_group_tolerations([given]) == [given, *map(ours, added)]


def test_default_of_the_installation_replaces_ours(make: Make) -> None:
    own = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 900}
    experiment = make(without_tolerations)
    config = replace(CONFIG, defaults=JobDefaults(tolerations=(own,)))
    assert pod(job_manifest(experiment, starts(experiment)["train"], config))["tolerations"] == [own, ours(NOT_READY)]


def test_worker_group_starts_again_within_five_minutes_of_a_power_off(make: Make) -> None:
    """The node is found unresponsive, its pods are evicted but never end, and the lost group backs off and restarts."""
    job = the_job(make(without_tolerations), config=JobConfig(default_image="trainer:1"))
    tolerated = timedelta(seconds=max(item["tolerationSeconds"] for item in pod(job)["tolerations"]))
    # the simulated cluster gives pods the toleration seconds of the template
    assert timedelta(seconds=pod(job)["terminationGracePeriodSeconds"]) == GRACE
    cluster = Cluster(1)
    cluster.control()
    cluster.do_run(0, 0)
    cluster.settle()
    step = cluster.experiment.status.step("train")
    assert step is not None
    assert step.state is StepState.RUNNING
    power_off = cluster.now
    lost = next(uid for uid, found in cluster.pods.items() if found.step == "train")
    cluster.dead.add(lost)
    cluster.now += DETECTION + tolerated
    cluster.terminate(replace(cluster.pods[lost], disrupted=True))
    while step.attempt == 1 and cluster.now < power_off + 2 * BAR:
        cluster.now += timedelta(seconds=1)
        cluster.control()
        cluster.end_what_terminates()
        cluster.settle()
        step = cluster.experiment.status.step("train")
        assert step is not None
    assert (step.attempt, step.state) == (2, StepState.STARTING)
    assert cluster.now - power_off <= BAR
